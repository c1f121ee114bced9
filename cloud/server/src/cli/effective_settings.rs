//! The effective settings that `check-config` prints, without secrets: lines for people, or an object.

use std::collections::BTreeSet;
use std::path::Path;

use fedecks_cloud::serve::{ClientAuth, Tls};
use fedecks_common::utc;
use fedecks_store::unix_now;
use serde_json::{Value, json};

use super::output::Row;
use crate::config::{ClientCertificates, Config, Listener, Service, TlsChoice};
use crate::preflight::{self, Preflight};

/// Each certificate once; listeners may share one.
pub(super) fn certificates(preflight: &Preflight) -> impl Iterator<Item = &Tls> {
    let mut seen = BTreeSet::new();
    preflight.certificates.iter().flatten().filter(move |tls| seen.insert(tls.certificate()))
}

pub(super) fn describe(config: &Config, preflight: &Preflight, has_store: bool) -> Row {
    let columns = lines(config, preflight, has_store).trim_end().to_owned();
    Row { columns, json: object(config, preflight, has_store) }
}

fn lines(config: &Config, preflight: &Preflight, has_store: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name}: {value}\n");
    for (listener, certificate) in config.listeners.iter().zip(&preflight.certificates) {
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
        let (address, served) = (listener.address, served(listener).join(", "));
        line("listener", format!("{address}, {tls}{proxy}; serves {served}"));
        if let Some(clients) = &listener.clients {
            line("client certificates", clients_of(clients));
        }
    }
    for tls in certificates(preflight) {
        let report = preflight::report(tls);
        let names = match report.names.is_empty() {
            true => "no name".into(),
            false => report.names.join(", "),
        };
        let (file, key, issuer) = (tls.certificate().display(), report.key, report.issuer);
        line("certificate", format!("{file}, for {names}; key {key}; issued {issuer}"));
    }
    line("device socket", config.path.clone());
    let missing = if has_store { "" } else { " (will be created)" };
    line("store", format!("{}{missing}", config.store));
    if let Some(cluster) = &config.cluster {
        let user = cluster.nats_user.iter().map(|user| format!(" as {user}")).collect::<String>();
        let (nats, prefix) = (cluster.nats.join(", "), &cluster.prefix);
        line("cluster", format!("by {nats}{user}, subjects below {prefix}"));
    }
    let generated = |file: &Path| format!("generated ({})", file.display());
    line("secret", config.secrets.generated().map_or("configured".to_owned(), generated));
    for webhook in &config.webhooks {
        line("webhook", format!("{} to {}", webhook.name, webhook.shown_url()));
    }
    text
}

/// What a listener makes of the certificates of devices.
fn clients_of(clients: &ClientCertificates) -> String {
    let ClientAuth { authorities, required, crls, accept_expired_crls, .. } = &clients.auth;
    let mut text = if *required { "required" } else { "optional" }.to_owned();
    text += &format!(", by {}; device id from {}", authorities.display(), clients.id());
    for (is_set, what) in [
        (clients.rules.register, "; register unknown devices"),
        (clients.rules.replaces_token, "; replace the token"),
    ] {
        text += if is_set { what } else { "" };
    }
    for crl in crls {
        text += &format!("; revocation list {}", crl.display());
    }
    let expired = if *accept_expired_crls { ", accepted when expired" } else { "" };
    text + expired
}

fn clients_object(clients: &ClientCertificates) -> Value {
    let ClientAuth { authorities, required, crls, accept_expired_crls, .. } = &clients.auth;
    json!({
        "client_ca": authorities,
        "client_cert": if *required { "required" } else { "optional" },
        "client_id": clients.id(),
        "client_register": clients.rules.register,
        "client_replaces_token": clients.rules.replaces_token,
        "client_crl": crls,
        "client_crl_expired": if *accept_expired_crls { "accept" } else { "refuse" },
    })
}

fn served(listener: &Listener) -> Vec<&'static str> {
    let served = Service::ALL.into_iter().filter(|service| listener.serves(*service));
    served.map(Service::as_str).collect()
}

fn object(config: &Config, preflight: &Preflight, has_store: bool) -> Value {
    let listener = |(listener, certificate): (&Listener, &Option<Tls>)| {
        let (tls, file) = match &listener.tls {
            TlsChoice::Off => ("off", None),
            TlsChoice::SelfSigned => ("self-signed", None),
            TlsChoice::Files { certificate, .. } => ("files", Some(certificate)),
        };
        json!({
            "address": listener.address,
            "tls": tls,
            "certificate": file,
            "expires": certificate.as_ref().and_then(Tls::not_after).map(utc),
            "client_certificates": listener.clients.as_ref().map(clients_object),
            "proxy_protocol": listener.proxy_protocol,
            "serves": served(listener),
        })
    };
    let certificate = |tls: &Tls| {
        let report = preflight::report(tls);
        let (names, key, issuer) = (report.names, report.key, report.issuer);
        json!({ "file": tls.certificate(), "names": names, "key": key, "issued": issuer })
    };
    let listeners: Vec<_> =
        config.listeners.iter().zip(&preflight.certificates).map(listener).collect();
    let webhooks = config.webhooks.iter();
    let webhooks: Vec<_> = webhooks
        .map(|webhook| json!({ "name": webhook.name, "url": webhook.shown_url() }))
        .collect();
    let generated = config.secrets.generated();
    json!({
        "listeners": listeners,
        "certificates": certificates(preflight).map(certificate).collect::<Vec<_>>(),
        "device_socket": config.path,
        "store": config.store.to_string(),
        "store_exists": has_store,
        "secret": if generated.is_some() { "generated" } else { "configured" },
        "secret_file": generated,
        "webhooks": webhooks,
        "cluster": config.cluster.as_ref().map(|cluster| {
            json!({
                "nats": cluster.nats,
                "nats_user": cluster.nats_user,
                "nats_ca_file": cluster.nats_ca_file,
                "prefix": cluster.prefix,
                "name": cluster.name,
            })
        }),
    })
}
