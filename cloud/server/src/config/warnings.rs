//! What the configuration permits although it is dangerous: secrets that every user of the machine can read,
//! passwords and events that travel in plaintext. Nothing here is refused, as an operator may have reasons.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Config;
use super::error::ConfigSources;
use super::file::ConfigFile;
use super::sections::{Listener, Service, TlsChoice, Webhook};

/// Of the permissions of the file, if there are secrets in it.
pub(super) fn of_file(file: &ConfigFile, sources: &ConfigSources) -> Vec<String> {
    let at_top = ["secret", "salt"].into_iter().filter(|key| sources.lines.contains_key(key));
    let mut keys: Vec<_> = at_top.collect();
    if file.previous_key.iter().any(|pair| pair.secret.is_some() || pair.salt.is_some()) {
        keys.push("previous_key");
    }
    if file.webhook.iter().any(Webhook::has_secret) {
        keys.push("webhook.secret");
    }
    let Some(path) = sources.file.as_deref().filter(|_| !keys.is_empty()) else {
        return Vec::new();
    };
    let holds = format!("it contains {}", keys.join(", "));
    exposed(path, &holds).into_iter().collect()
}

impl Config {
    /// What is dangerous in the configuration, or in the permissions of the files that it names.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.file_warnings.clone();
        for file in self.secret_files() {
            let warning = exposed(file, "it contains a secret");
            warnings.extend(warning.filter(|warning| !warnings.contains(warning)));
        }
        if self.trusted_proxies.is_empty() {
            warnings.extend(self.listeners.iter().filter_map(plaintext));
        }
        warnings
            .extend(self.webhooks.iter().filter(|webhook| sends_plaintext(webhook)).map(|webhook| {
            let name = &webhook.name;
            format!(
                "webhook {name}: http:// sends events over the network in plaintext; use https://"
            )
        }));
        warnings
    }

    /// What only root can read: a server that runs as another user does not start.
    pub(crate) fn warnings_of_root(&self) -> Vec<String> {
        let is_roots = |file: &&Path| {
            fs::metadata(file).is_ok_and(|found| found.uid() == 0 && found.mode() & 0o044 == 0)
        };
        let files: BTreeSet<_> = self.secret_files().into_iter().filter(is_roots).collect();
        let warning = |file: &Path| {
            let file = file.display();
            format!("only root can read {file}: a server that runs as another user does not start")
        };
        files.into_iter().map(warning).collect()
    }

    /// The files with secrets that the configuration names.
    fn secret_files(&self) -> Vec<&Path> {
        let keys = self.listeners.iter().filter_map(|listener| match &listener.tls {
            TlsChoice::Files { key, .. } => Some(key.as_path()),
            TlsChoice::Off | TlsChoice::SelfSigned => None,
        });
        let of_webhooks = self.webhooks.iter().filter_map(|webhook| webhook.secret_file.as_deref());
        keys.chain(self.secrets.files()).chain(of_webhooks).collect()
    }
}

/// A listener that others on the network reach without TLS.
fn plaintext(listener: &Listener) -> Option<String> {
    let Listener { address, tls, .. } = listener;
    let secrets =
        [Service::Devices, Service::Api].into_iter().any(|service| listener.serves(service));
    if address.ip().to_canonical().is_loopback() || *tls != TlsChoice::Off || !secrets {
        return None;
    }
    Some(format!(
        "listener {address} has no TLS, and trusted_proxies is empty: passwords and tokens cross the network \
         readable. Set certificate and key, or listen on 127.0.0.1 behind a proxy in trusted_proxies"
    ))
}

/// If every user of the machine can read the file.
fn exposed(file: &Path, holds: &str) -> Option<String> {
    let real = fs::canonicalize(file).ok()?;
    let mode = fs::metadata(&real).ok()?.mode();
    let can_be_reached = real.ancestors().skip(1).all(|directory| {
        fs::metadata(directory).is_ok_and(|directory| directory.mode() & 0o001 != 0)
    });
    (mode & 0o004 != 0 && can_be_reached).then(|| {
        format!(
            "{} can be read by every user of this machine (mode {:04o}), and {holds}: \
             `chmod o= {}`, with the server's user as its owner or in its group",
            file.display(),
            mode & 0o7777,
            file.display()
        )
    })
}

fn sends_plaintext(webhook: &Webhook) -> bool {
    webhook.url.scheme_str() == Some("http") && !webhook.url.host().is_some_and(is_local)
}

fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
