//! `check-config`: what `serve` would do with the configuration.

use std::fmt::Write;

use fedecks_cloud::serve::Tls;
use fedecks_store::unix_now;

use super::error::CliError;
use super::output::print;
use super::place::Place;
use crate::app;
use crate::config::{Config, Overrides, Part, TlsChoice};
use fedecks_common::utc;

/// Reads everything that the server would read, and prints what holds, without a secret.
pub(super) fn run(place: Place) -> Result<(), CliError> {
    let config = place.load(Overrides::default())?;
    let certificates = app::check(&config)?;
    print(&described(&config, &certificates))
}

fn described(config: &Config, certificates: &[Option<Tls>]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // A text takes every line.
        let _ = writeln!(text, "{name}: {value}");
    };
    for (listener, certificate) in config.listeners.iter().zip(certificates) {
        let tls = match &listener.tls {
            TlsChoice::Off => "plaintext".to_owned(),
            TlsChoice::SelfSigned => "TLS with a certificate of our own making".to_owned(),
            TlsChoice::Files { certificate: file, .. } => {
                let end = certificate.as_ref().and_then(Tls::not_after);
                let expires = end.map_or_else(String::new, |end| {
                    let word = if end <= unix_now() { "expired" } else { "expires" };
                    format!(" ({word} {})", utc(end))
                });
                format!("TLS with {}{expires}", file.display())
            }
        };
        let parts = [(Part::Devices, "devices"), (Part::Api, "api"), (Part::Metrics, "metrics")];
        let served = parts.iter().filter(|(part, _)| listener.serves(*part));
        let served: Vec<_> = served.map(|(_, name)| *name).collect();
        let proxy = if listener.proxy_protocol { ", behind the PROXY protocol" } else { "" };
        line("listener", format!("{}, {tls}, {}{proxy}", listener.address, served.join(" and ")));
    }
    line("device socket", config.path.clone());
    let there = if config.store.exists() { "" } else { " (to be made)" };
    line("store", format!("{}{there}", config.store.display()));
    let made = if config.secrets.are_made() { "of our own making" } else { "configured" };
    line("secret", made.to_owned());
    for webhook in &config.webhooks {
        line("webhook", format!("{} to {}", webhook.name, webhook.url));
    }
    text
}
