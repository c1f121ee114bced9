//! The configured listeners with their certificates.

use fedecks_cloud::Listen;
use fedecks_cloud::serve::Tls;

use crate::config::{Config, Listener, TlsChoice};
use crate::error::ServerError;
use crate::self_signed::SelfSigned;

/// The configured listeners, with their certificates read.
pub(crate) fn open(config: &Config) -> Result<Vec<Listen>, ServerError> {
    let open = |listener: &Listener| {
        let (address, proxy_protocol) = (listener.address, listener.proxy_protocol);
        Ok(Listen { address, tls: tls(&listener.tls, config)?, proxy_protocol })
    };
    config.listeners.iter().map(open).collect()
}

/// Reads the certificate of each configured listener, but for one of our own making.
pub(crate) fn check(config: &Config) -> Result<Vec<Option<Tls>>, ServerError> {
    let check = |listener: &Listener| match &listener.tls {
        TlsChoice::Files { certificate, key } => Ok(Some(Tls::from_pem_files(certificate, key)?)),
        TlsChoice::Off | TlsChoice::SelfSigned => Ok(None),
    };
    config.listeners.iter().map(check).collect()
}

fn tls(choice: &TlsChoice, config: &Config) -> Result<Option<Tls>, ServerError> {
    match choice {
        TlsChoice::Off => Ok(None),
        TlsChoice::Files { certificate, key } => Ok(Some(Tls::from_pem_files(certificate, key)?)),
        TlsChoice::SelfSigned => {
            let made = SelfSigned::load_or_make(&config.data_dir)?;
            tracing::info!(ca_file = %made.authority.display(), "serving a self-signed certificate");
            Ok(Some(made.tls))
        }
    }
}
