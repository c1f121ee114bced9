//! What is wrong with the configuration, and where it stands.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::keys;

/// What is wrong with the configuration, and where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    /// A value, a key or the file's form is wrong.
    #[error("{place}{}{key}: {problem}", if key.is_empty() { "" } else { ": " })]
    Wrong {
        /// The file with the line where it is known, or the environment variable.
        place: String,
        /// The key with the name of its table, empty if it is not known.
        key: String,
        /// What is there and what was expected.
        problem: String,
    },
}

/// Knows where each key got its value from.
#[derive(Debug, Clone)]
pub(super) struct Places {
    file: Option<PathBuf>,
    from_environment: BTreeSet<&'static str>,
}

impl Places {
    pub(super) fn new(file: Option<&Path>, from_environment: BTreeSet<&'static str>) -> Self {
        Self { file: file.map(Path::to_owned), from_environment }
    }

    /// Whether there is a file.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The value of `key` is not as expected.
    pub(super) fn wrong(&self, key: &str, problem: &str) -> ConfigError {
        let place = if self.from_environment.contains(key) {
            format!("environment variable {}", keys::variable_of(key))
        } else if let Some(file) = &self.file {
            file.display().to_string()
        } else {
            "configuration".into()
        };
        ConfigError::Wrong { place, key: key.into(), problem: problem.into() }
    }
}

/// An error of the TOML parser. Its own text would show the line, which may hold a secret.
pub(super) fn in_file(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let (line, key) = error.span().map_or((None, String::new()), |span| {
        let line = text.get(..span.start).map(|before| before.matches('\n').count() + 1);
        (line, key_at(text, &span))
    });
    let place = match line {
        Some(line) => format!("{}, line {line}", file.display()),
        None => file.display().to_string(),
    };
    ConfigError::Wrong { place, key, problem: error.message().trim().replace('\n', ", ") }
}

/// The known key that stands on the line where `span` begins, or above it if the line has none.
fn key_at(text: &str, span: &Range<usize>) -> String {
    let until_end_of_line = text
        .get(span.start..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |length| span.start + length);
    let mut lines = text.get(..until_end_of_line).unwrap_or_default().lines().rev();
    let name = lines.by_ref().find_map(|line| {
        let name = line.split_once('=').map_or("", |(name, _)| name).trim();
        (!name.is_empty() || line.trim_start().starts_with('[')).then(|| name.to_owned())
    });
    let name = name.unwrap_or_default();
    let table =
        lines.find_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']').map(str::to_owned));
    let key = match table {
        Some(table) => format!("{table}.{name}"),
        None => name,
    };
    if keys::is_known(&key) { key } else { String::new() }
}
