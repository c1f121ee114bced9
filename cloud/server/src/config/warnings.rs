//! What the configuration permits although it is dangerous: secrets that every user of the machine can read,
//! passwords and events that travel in plaintext. Nothing here is refused, as an operator may have reasons.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fedecks_cloud::serve::IpNet;

use super::error::ConfigSources;
use super::file::ConfigFile;
use super::keys;
use super::sections::{Listener, Registration, Service, TlsChoice, Webhook};

/// Names the file; the configuration does not contain it.
const CONFIG_VARIABLE: &str = "FEDECKS_CONFIG";

/// How many unknown variables a warning names.
const MOST_NAMED: usize = 10;

/// Of the permissions of the file, if there are secrets in it.
pub(super) fn of_file(
    file: &ConfigFile,
    store_has_password: bool,
    sources: &ConfigSources,
) -> Vec<String> {
    let at_top = ["secret", "salt"].into_iter().chain(store_has_password.then_some("store"));
    let mut keys: Vec<_> = at_top.filter(|key| sources.lines.contains_key(*key)).collect();
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

/// Of variables that are meant for this program and set nothing.
pub(crate) fn of_environment(names: impl Iterator<Item = OsString>) -> Option<String> {
    let known: BTreeSet<_> = keys::KEYS.iter().map(|(key, _)| keys::variable_of(key)).collect();
    let names = names.filter_map(|name| name.into_string().ok());
    let is_unknown = |name: &String| name.starts_with("FEDECKS_") && !known.contains(name);
    let unknown: BTreeSet<_> =
        names.filter(is_unknown).filter(|name| name != CONFIG_VARIABLE).collect();
    let unknown: Vec<_> = unknown.into_iter().take(MOST_NAMED).collect();
    (!unknown.is_empty()).then(|| {
        let named: Vec<_> = unknown.iter().map(|name| with_similar(name, &known)).collect();
        format!("unknown environment variable {}: check the spelling", named.join(", "))
    })
}

/// Longer names, in bytes, are similar to none.
const MOST_COMPARED: usize = 80;

/// The name of a variable, and the known one that was probably meant.
fn with_similar(name: &str, known: &BTreeSet<String>) -> String {
    if name.len() > MOST_COMPARED {
        return name.to_owned();
    }
    let distance = |known: &String| strsim::damerau_levenshtein(name, known);
    let similar = known.iter().map(|known| (distance(known), known)).min();
    match similar.filter(|(distance, _)| *distance <= 3) {
        Some((_, meant)) => format!("{name} (similar: {meant})"),
        None => name.to_owned(),
    }
}

/// Of the permissions of files with secrets that the configuration names.
pub(super) fn of_secret_files(files: &BTreeSet<&Path>) -> Vec<String> {
    files.iter().filter_map(|file| exposed(file, "it contains a secret")).collect()
}

/// Of what only root can read: a server that runs as another user does not start.
pub(super) fn of_root(files: &BTreeSet<&Path>) -> Vec<String> {
    let is_roots = |file: &&&Path| {
        fs::metadata(file).is_ok_and(|found| found.uid() == 0 && found.mode() & 0o044 == 0)
    };
    let warning = |file: &&Path| {
        let file = file.display();
        format!("only root can read {file}: a server that runs as another user does not start")
    };
    files.iter().filter(is_roots).map(warning).collect()
}

/// Of what others on the network can read, or claim.
pub(super) fn of_network(
    listeners: &[Listener],
    trusted_proxies: &[IpNet],
    webhooks: &[Webhook],
) -> Vec<String> {
    let mut warnings = Vec::new();
    if trusted_proxies.iter().all(|proxy| proxy.addr().is_loopback()) {
        warnings.extend(listeners.iter().filter_map(plaintext));
    }
    for listener in listeners {
        let of_clients = listener.clients.iter().flat_map(|clients| clients.warnings());
        let address = listener.address;
        warnings.extend(of_clients.map(|warning| format!("listener {address}: {warning}")));
    }
    if let Some(all) = trusted_proxies.iter().find(|proxy| proxy.prefix_len() == 0) {
        warnings.push(format!(
            "trusted_proxies contains {all}: every client can claim to have any address, so limits per address \
             limit nothing; list the proxies only"
        ));
    }
    warnings.extend(webhooks.iter().filter(|webhook| sends_plaintext(webhook)).map(|webhook| {
        let name = &webhook.name;
        format!("webhook {name}: http:// sends events over the network in plaintext; use https://")
    }));
    warnings
}

/// Of who may become a device that exists.
pub(super) fn of_registration(registration: &Registration) -> Vec<String> {
    let warning = "registration.may_reregister is true: anyone who has the password of an account, or a claim for \
                   several devices, can replace any device by logging in with its id; for trials only";
    registration.may_reregister.then(|| warning.to_owned()).into_iter().collect()
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
        "listener {address} has no TLS, and no proxy of the network is trusted: passwords and tokens cross it \
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
