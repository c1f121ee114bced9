//! The URL of a PostgreSQL database, and its password.

use std::fmt;
use std::path::{Path, PathBuf};

use fedecks_store::{PostgresUrl, StoreError};

use super::secrets::Source;
use crate::config::error::{ConfigError, ConfigSources};

/// A database as the configuration names it. Shown without its password.
#[derive(Debug)]
pub(crate) struct Database {
    url: PostgresUrl,
    password: Option<Source>,
    sources: ConfigSources,
}

impl Database {
    pub(crate) fn check(
        url: &str,
        password_file: Option<PathBuf>,
        sources: &ConfigSources,
    ) -> Result<Self, ConfigError> {
        let url = PostgresUrl::new(url).map_err(|error| {
            let problem = match error {
                StoreError::Failed { source, .. } => source.to_string(),
                other => other.to_string(),
            };
            sources.invalid_value("store", problem)
        })?;
        let password = Source::check(None, password_file, "", "store_password", sources)?;
        if url.has_password() && password.is_some() {
            let problem =
                "store contains a password, and store_password_file is set; set only one of them";
            return Err(sources.invalid("store_password_file", problem));
        }
        Ok(Self { url, password, sources: sources.clone() })
    }

    /// The URL with its password, which is read now.
    pub(crate) fn url(&self) -> Result<PostgresUrl, ConfigError> {
        let url = self.url.clone();
        let Some(source) = &self.password else { return Ok(url) };
        let password = source.read(&self.sources)?;
        if password.expose().is_empty() {
            return Err(source.invalid(&self.sources, "the file is empty"));
        }
        Ok(url.with_password(password.expose()))
    }

    pub(super) fn has_password(&self) -> bool {
        self.url.has_password()
    }

    pub(super) fn password_file(&self) -> Option<&Path> {
        match &self.password {
            Some(Source::File { file, .. }) => Some(file),
            _ => None,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
