//! The configured listeners with their certificates. The library opens the sockets.

use fedecks_cloud::Listen;
use fedecks_cloud::serve::Tls;

use crate::config::{Config, Listener, TlsChoice};
use crate::error::ServerError;
use crate::self_signed::SelfSigned;

/// The configured listeners, with what [`read_certificates`] returned. Generates the self-signed one if needed.
/// Session tickets follow from the secret, so that a restart does not cost a fleet full handshakes.
pub(crate) fn load(
    config: &Config,
    certificates: Vec<Option<Tls>>,
    ticket_secret: &[u8; 32],
) -> Result<Vec<Listen>, ServerError> {
    let listeners = config.listeners.iter().zip(certificates);
    let load = listeners.map(|(listener, certificate)| {
        let tls = match listener.tls {
            TlsChoice::SelfSigned => {
                let SelfSigned { tls, authority } = SelfSigned::load_or_generate(&config.data_dir)?;
                tracing::info!(ca_file = %authority.display(), "serving a self-signed certificate");
                Some(tls)
            }
            _ => certificate,
        };
        let &Listener { address, proxy_protocol, connections, .. } = listener;
        Ok(Listen::plain(address).with(|it| {
            it.tls = tls.map(|tls| tls.with_ticket_secret(ticket_secret));
            it.proxy_protocol = proxy_protocol;
            it.connections = connections;
        }))
    });
    load.collect()
}

/// Reads the certificate of each listener that has one in files, and what it verifies those of devices by.
pub(crate) fn read_certificates(config: &Config) -> Result<Vec<Option<Tls>>, ServerError> {
    let check = |listener: &Listener| match &listener.tls {
        TlsChoice::Files { certificate, key, section } => {
            let with_clients = |tls: Tls| match &listener.clients {
                Some(clients) => tls.with_client_auth(clients.auth.clone()),
                None => Ok(tls),
            };
            let read = Tls::from_pem_files(certificate, key).and_then(with_clients);
            let read = read.map_err(|error| {
                let name = match (error.client_file(), &listener.clients) {
                    (Some(file), Some(clients)) if file == clients.auth.authorities => "client_ca",
                    (Some(_), _) => "client_crl",
                    (None, _) if error.is_about_key() => "key",
                    (None, _) => "certificate",
                };
                config.sources.invalid_value(&format!("{section}.{name}"), error)
            });
            Ok(Some(read?))
        }
        TlsChoice::Off | TlsChoice::SelfSigned => Ok(None),
    };
    config.listeners.iter().map(check).collect()
}
