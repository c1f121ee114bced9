//! Where the configuration names the files of TLS, for errors about them.

use std::path::Path;

use fedecks_device::error::TlsError;
use fedecks_device::{TlsOptions, Trust};

use super::error::ConfigError;
use super::sources::ConfigSources;

/// The places of the keys that name files: a line of the file, or an environment variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TlsPlaces {
    ca_file: String,
    client_cert: String,
    client_key: String,
}

impl TlsPlaces {
    pub(super) fn of(sources: &ConfigSources) -> Self {
        let [ca_file, client_cert, client_key] =
            ["ca_file", "client_cert", "client_key"].map(|key| sources.place(key).to_owned());
        Self { ca_file, client_cert, client_key }
    }

    /// The error at the key that names the file.
    pub(crate) fn report(&self, tls: &TlsOptions, error: &TlsError) -> ConfigError {
        let key = match error {
            TlsError::File { file, expected, .. } => key_of(tls, file, expected.ends_with("key")),
            TlsError::Authority { .. } | TlsError::NoAuthorities => "ca_file",
            _ => "client_cert",
        };
        let place = match key {
            "ca_file" => &self.ca_file,
            "client_key" => &self.client_key,
            _ => &self.client_cert,
        };
        ConfigError::Invalid { place: place.clone(), problem: format!("{key}: {error}") }
    }
}

/// The key that names `file`, from which a private key or a certificate was to be read.
fn key_of(tls: &TlsOptions, file: &Path, is_private: bool) -> &'static str {
    if is_private {
        return "client_key";
    }
    match &tls.trust {
        Trust::Only(authorities) | Trust::PublicAnd(authorities) if authorities == file => {
            "ca_file"
        }
        _ => "client_cert",
    }
}
