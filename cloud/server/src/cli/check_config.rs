//! `check-config`: validates the configuration and prints the effective settings, without secrets.

use std::path::Path;

use fedecks_cloud::serve::Tls;
use fedecks_common::utc;
use fedecks_store::unix_now;

use super::error::CliError;
use super::output::Output;
use super::place::Place;
use crate::app;
use crate::config::{Config, Overrides, Service, TlsChoice};
use crate::owner::act_as_owner_of;

/// Reads everything that the server would read, and changes nothing.
pub(super) fn run(place: Place, output: &mut Output<'_>) -> Result<(), CliError> {
    let config = place.load(Overrides::default())?;
    // As the server's own user, who may be unable to read what root can.
    act_as_owner_of(&[&config.store, &config.data_dir])?;
    let certificates = app::check(&config)?;
    output.print(&describe(&config, &certificates))
}

fn describe(config: &Config, certificates: &[Option<Tls>]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name}: {value}\n");
    for (listener, certificate) in config.listeners.iter().zip(certificates) {
        let tls = match &listener.tls {
            TlsChoice::Off => "plaintext".to_owned(),
            TlsChoice::SelfSigned => "TLS, self-signed".to_owned(),
            TlsChoice::Files { certificate: file, .. } => {
                let end = certificate.as_ref().and_then(Tls::not_after);
                let expires = end.map_or_else(String::new, |end| {
                    let word = if end <= unix_now() { "expired" } else { "expires" };
                    format!(" ({word} {})", utc(end))
                });
                format!("TLS with {}{expires}", file.display())
            }
        };
        let proxy = if listener.proxy_protocol { ", behind the PROXY protocol" } else { "" };
        let served = Service::ALL.into_iter().filter(|service| listener.serves(*service));
        let served: Vec<_> = served.map(Service::as_str).collect();
        let (address, served) = (listener.address, served.join(", "));
        line("listener", format!("{address}, {tls}{proxy}; serves {served}"));
    }
    line("device socket", config.path.clone());
    let missing = if config.store.exists() { "" } else { " (will be created)" };
    line("store", format!("{}{missing}", config.store.display()));
    let generated = |file: &Path| format!("generated ({})", file.display());
    line("secret", config.secrets.generated().map_or("configured".to_owned(), generated));
    for webhook in &config.webhooks {
        line("webhook", format!("{} to {}", webhook.name, webhook.url));
    }
    text
}
