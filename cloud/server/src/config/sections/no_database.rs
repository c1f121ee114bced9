//! In place of `database` in a program without the feature `postgres`: no database can be configured.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::error::{ConfigError, ConfigSources};

/// There is none.
#[derive(Debug)]
pub(crate) enum Database {}

impl Database {
    pub(crate) fn check(
        _url: &str,
        _password_file: Option<PathBuf>,
        sources: &ConfigSources,
    ) -> Result<Self, ConfigError> {
        let problem = "this program was built without PostgreSQL (the feature `postgres`)";
        Err(sources.invalid_value("store", problem))
    }

    pub(super) fn has_password(&self) -> bool {
        match *self {}
    }

    pub(super) fn password_file(&self) -> Option<&Path> {
        match *self {}
    }
}

impl fmt::Display for Database {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}
