//! What is wrong with the configuration, and where.

use std::path::PathBuf;

/// What is wrong with the configuration, and where. Shows no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {what} {}: {source}", file.display())]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value, a key or a file's form is wrong.
    #[error("{place}: {problem}")]
    Wrong {
        /// The file, with the line where it is known, or the environment variable.
        place: String,
        /// The key, what is there and what was expected.
        problem: String,
    },
}

impl ConfigError {
    /// With this a program ends that is configured wrongly: `EX_CONFIG`. Starting it again as it is
    /// will not help.
    pub const EXIT_CODE: u8 = 78;
}
