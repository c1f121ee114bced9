//! A URL that was checked, for programs that read it from a configuration.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::location::Location;
use crate::error::StoreError;

/// The URL of a database, see [`PostgresStore::open`](crate::PostgresStore::open). It is shown without its password.
#[derive(Clone)]
pub struct PostgresUrl {
    text: String,
    shown: String,
    has_password: bool,
}

impl PostgresUrl {
    /// Checks a URL. The error does not show its password.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let location = Location::parse(url)?;
        let has_password = location.config.get_password().is_some();
        Ok(Self { text: url.to_owned(), shown: location.shown, has_password })
    }

    /// Whether the URL contains a password.
    pub fn has_password(&self) -> bool {
        self.has_password
    }

    /// The same URL with this password.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        let separator = if self.text.contains('?') { '&' } else { '?' };
        let password = utf8_percent_encode(password, NON_ALPHANUMERIC);
        let text = format!("{}{separator}password={password}", self.text);
        Self { text, has_password: true, ..self }
    }

    /// The URL itself. Not for logs and errors.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_added_and_not_shown() {
        for url in [
            "postgres://me@db.example/x",
            "postgres://me@db.example/x?",
            "postgres://me@db.example/x?sslmode=verify-full",
        ] {
            let bare = PostgresUrl::new(url).unwrap();
            assert!(!bare.has_password());
            let full = bare.with_password("sé?c&r=e#t @/%:1");
            let config = Location::parse(full.expose()).unwrap().config;
            assert_eq!(config.get_password(), Some("sé?c&r=e#t @/%:1".as_bytes()), "{url}");
            assert_eq!(config.get_dbname(), Some("x"));
            assert!(full.has_password());
            assert_eq!(
                format!("{full} {full:?}"),
                "postgres://me@db.example:5432/x PostgresUrl(postgres://me@db.example:5432/x)"
            );
        }
        assert!(PostgresUrl::new("postgres://me:secret@host/x").unwrap().has_password());
        assert!(PostgresUrl::new("postgres://me@host/x?password=secret").unwrap().has_password());
    }
}
