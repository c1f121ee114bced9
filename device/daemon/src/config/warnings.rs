//! What is wrong with the configuration and does not keep the service from running.

use std::fmt::Display;

use super::error::ConfigError;

/// How many are kept, each as a line of text.
const MOST: usize = 16;

/// How many characters of a problem are kept: it may quote a value.
const LENGTH: usize = 240;

#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<String>);

impl Warnings {
    pub(super) fn add(&mut self, problem: impl Display) {
        self.push(problem, "");
    }

    /// A key whose default is used instead of its value.
    pub(super) fn add_default(&mut self, problem: &ConfigError) {
        self.push(problem, "; using the default");
    }

    fn push(&mut self, problem: impl Display, effect: &str) {
        match self.0.len() {
            MOST => self.0.push("further problems are not listed".into()),
            0..MOST => self.0.push(cut(problem.to_string()) + effect),
            _ => {}
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LENGTH) {
        text.truncate(end);
        text.push('…');
    }
    text
}
