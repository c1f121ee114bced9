//! What is wrong with the configuration and does not keep the service from running.

use std::fmt::Display;

use super::error::ConfigError;

/// How many are kept, each as a line of text.
const MOST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<String>);

impl Warnings {
    pub(super) fn add(&mut self, problem: impl Display) {
        match self.0.len() {
            MOST => self.0.push("further problems are not listed".into()),
            0..MOST => self.0.push(problem.to_string()),
            _ => {}
        }
    }

    /// A key whose default is used instead of its value.
    pub(super) fn add_default(&mut self, problem: &ConfigError) {
        self.add(format_args!("{problem}; using the default"));
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }
}
