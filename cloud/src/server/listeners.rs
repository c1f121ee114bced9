use std::sync::Arc;

use fedecks_cloud::{Listen, Peer, Tls};
use warp::{Filter, Rejection};

use super::self_signed::SelfSigned;
use super::site::Site;
use crate::cli::CliError;
use crate::config::{Config, Listener, Part, TlsChoice};

/// The configured listeners, with their certificates read.
pub(super) fn open(config: &Config) -> Result<Vec<Listen>, CliError> {
    let open = |listener: &Listener| {
        let (address, proxy_protocol) = (listener.address, listener.proxy_protocol);
        Ok(Listen { address, tls: tls(&listener.tls, config)?, proxy_protocol })
    };
    config.listeners.iter().map(open).collect()
}

/// Reads the certificate of each configured listener, but for one of our own making.
pub(super) fn check(config: &Config) -> Result<Vec<Option<Tls>>, CliError> {
    let check = |listener: &Listener| match &listener.tls {
        TlsChoice::Files { certificate, key } => Ok(Some(Tls::from_pem_files(certificate, key)?)),
        TlsChoice::Off | TlsChoice::SelfSigned => Ok(None),
    };
    config.listeners.iter().map(check).collect()
}

/// Lets through what came in by a listener that serves this part. Elsewhere there is no such thing.
pub(super) fn serving(
    site: &Arc<Site>,
    part: Part,
) -> impl Filter<Extract = (), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let config = site.config.clone();
    let here = move |peer: Peer| {
        let listener = config.listeners.get(peer.listener);
        let serves = listener.is_some_and(|listener| listener.serves(part));
        std::future::ready(if serves { Ok(()) } else { Err(warp::reject::not_found()) })
    };
    warp::ext::get::<Peer>().and_then(here).untuple_one()
}

fn tls(choice: &TlsChoice, config: &Config) -> Result<Option<Tls>, CliError> {
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
