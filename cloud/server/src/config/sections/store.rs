//! `store` and `store_password_file`: where the store is, in a file or in a PostgreSQL database.

use std::fmt;
use std::path::{Path, PathBuf};

use super::database::Database;
use crate::config::error::{ConfigError, ConfigSources};
use crate::config::secret::Secret;

/// Where the store is. Shown without a password.
#[derive(Debug)]
pub(crate) enum StorePlace {
    File(PathBuf),
    Database(Database),
}

const DEFAULT_STORE: &str = "fedecks.sqlite";

/// How the URL of a database begins. Everything else is a path.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

impl StorePlace {
    pub(crate) fn check(
        store: Option<Secret>,
        password_file: Option<PathBuf>,
        data_dir: &Path,
        sources: &ConfigSources,
    ) -> Result<Self, ConfigError> {
        let is_url = |text: &Secret| SCHEMES.iter().any(|it| text.expose().starts_with(it));
        match store {
            Some(url) if is_url(&url) => {
                Database::check(url.expose(), password_file, sources).map(Self::Database)
            }
            _ if password_file.is_some() => Err(sources.invalid_value(
                "store_password_file",
                "store is not the URL of a database, which begins with postgres://",
            )),
            Some(path) => Ok(Self::File(path.expose().into())),
            None => Ok(Self::File(data_dir.join(DEFAULT_STORE))),
        }
    }

    /// The path of a file.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Database(_) => None,
        }
    }

    /// The configured value contains a password.
    pub(crate) fn has_password(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Database(database) => database.has_password(),
        }
    }

    /// The file with the password of the database.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        match self {
            Self::File(_) => None,
            Self::Database(database) => database.password_file(),
        }
    }
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Database(database) => database.fmt(f),
        }
    }
}
