//! What is wrong with the configuration, and where each value came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fedecks_common::explain_open_error;

use super::keys;

/// What is wrong with the configuration, and where. Shows no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {}: {}",
        file.display(),
        explain_open_error(source, file, "read")
    )]
    Unreadable { file: PathBuf, source: std::io::Error },
    /// A value, a key or the file's syntax is wrong.
    #[error("{place}: {problem}")]
    Invalid {
        /// The file, with the line where it is known, or the environment variable.
        place: String,
        /// The key, and what its value must be.
        problem: String,
    },
}

/// Where each key got its value from.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigSources {
    pub(super) file: Option<PathBuf>,
    /// The line of each key that the file sets; `webhook[0].url` in the first `[[webhook]]`.
    pub(super) lines: BTreeMap<String, usize>,
    pub(super) from_environment: BTreeSet<&'static str>,
}

impl ConfigSources {
    /// The value of `key`, which may be a section, is not as expected. `problem` names the key.
    pub(super) fn invalid(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let place = if self.from_environment.contains(key) {
            format!("environment variable {}", keys::variable_of(key))
        } else {
            match (&self.file, self.line(key)) {
                (Some(file), Some(line)) => format!("{}, line {line}", file.display()),
                (Some(file), None) => file.display().to_string(),
                (None, _) => "configuration".into(),
            }
        };
        ConfigError::Invalid { place, problem: problem.into() }
    }

    /// [`ConfigSources::invalid`] with the key in front of `problem`.
    pub(crate) fn invalid_value(&self, key: &str, problem: impl fmt::Display) -> ConfigError {
        self.invalid(key, format!("{}: {problem}", keys::shown(key)))
    }

    /// The line of a key, or the first line of a section, if the file has it.
    fn line(&self, key: &str) -> Option<usize> {
        let is_in = |name: &str| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        let first =
            || self.lines.iter().filter(|(name, _)| is_in(name)).map(|(_, line)| line).min();
        self.lines.get(key).or_else(first).copied()
    }

    /// Neither the file nor the environment sets `key`.
    fn is_default(&self, key: &str) -> bool {
        !self.lines.contains_key(key) && !self.from_environment.contains(key)
    }

    /// Two keys do not fit together. Blames the one that is set.
    pub(super) fn conflict(
        &self,
        (key, value): (&str, impl fmt::Display),
        must_be: &str,
        (other, limit): (&str, impl fmt::Display),
    ) -> ConfigError {
        let (value, limit) = (self.describe(key, value), self.describe(other, limit));
        let set = if self.is_default(key) { other } else { key };
        self.invalid(set, format!("{value} must be {must_be} {limit}"))
    }

    /// `KEY (VALUE)`, which also says if that is the default.
    fn describe(&self, key: &str, value: impl fmt::Display) -> String {
        let default = if self.is_default(key) { ", the default" } else { "" };
        format!("{key} ({value}{default})")
    }

    /// Fails unless the first duration is longer than the second.
    pub(super) fn require_longer(
        &self,
        (key, duration): (&str, Duration),
        (than, minimum): (&str, Duration),
    ) -> Result<(), ConfigError> {
        if duration > minimum {
            return Ok(());
        }
        let [duration, minimum] = [duration, minimum].map(|time| format!("{} s", time.as_secs()));
        Err(self.conflict((key, duration), "longer than", (than, minimum)))
    }
}
