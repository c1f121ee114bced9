//! `[tls]`: the certificate of the addresses in `listen`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::error::{ConfigError, ConfigSources};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    self_signed: bool,
}

/// The certificate that a listener serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum TlsChoice {
    #[default]
    Off,
    SelfSigned,
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
}

impl Tls {
    pub(crate) fn self_signed() -> Self {
        Self { self_signed: true, ..Self::default() }
    }

    pub(super) fn check(self, sources: &ConfigSources) -> Result<TlsChoice, ConfigError> {
        match (self.certificate, self.key) {
            (None, None) if self.self_signed => Ok(TlsChoice::SelfSigned),
            (None, None) => Ok(TlsChoice::Off),
            _ if self.self_signed => Err(sources.invalid(
                "tls.self_signed",
                "tls.self_signed and certificate files are both set; set only one of them",
            )),
            (Some(certificate), Some(key)) => Ok(TlsChoice::Files { certificate, key }),
            (Some(_), None) => {
                Err(sources.invalid("tls.certificate", "tls.certificate is set but tls.key is not"))
            }
            (None, Some(_)) => {
                Err(sources.invalid("tls.key", "tls.key is set but tls.certificate is not"))
            }
        }
    }
}
