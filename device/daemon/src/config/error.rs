//! What is wrong with the configuration, and where.

use std::path::PathBuf;

/// What is wrong with the configuration, and where. Shows no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no default file, and the environment does not replace it.
    #[error("no configuration: {} does not exist and FEDECKS_URL is not set{hint}", file.display())]
    Missing {
        /// The default file.
        file: PathBuf,
        /// A variable that may be misspelled, or nothing.
        hint: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A value, a key or the syntax of the file is invalid.
    #[error("{place}: {problem}")]
    Invalid {
        /// The file, with the line if it is known, or the environment variable.
        place: String,
        /// The key, its value and what was expected.
        problem: String,
    },
}

impl ConfigError {
    /// The exit status of a program with an invalid configuration: `EX_CONFIG` of sysexits.h. Restarting the
    /// program without a change does not help.
    pub const EXIT_CODE: u8 = 78;
}
