//! `listen`, `[[listener]]` and what else says where the server answers: `trusted_proxies` and `path`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use fedecks_cloud::serve::IpNet;
use fedecks_protocol::DEFAULT_PATH;
use serde::de::{Deserialize, Deserializer, Error};
use toml::Value;

use super::client_auth::{ClientCert, ClientCertificates, ClientId, ClientKeys, ExpiredCrl};
use super::tls::{Tls, TlsChoice};
use crate::config::error::{ConfigError, ConfigSources};
use crate::config::values::{MAX_U32, number, parsed, parsed_list};

/// An address that the server listens on.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    #[serde(deserialize_with = "address")]
    pub(crate) address: SocketAddr,
    /// Made from the next two.
    #[serde(skip)]
    pub(crate) tls: TlsChoice,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Made from the next seven.
    #[serde(skip)]
    pub(crate) clients: Option<ClientCertificates>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_cert: Option<ClientCert>,
    pub(crate) client_id: Option<ClientId>,
    pub(crate) client_register: Option<bool>,
    pub(crate) client_replaces_token: Option<bool>,
    pub(crate) client_crl: Option<Vec<PathBuf>>,
    pub(crate) client_crl_expired: Option<ExpiredCrl>,
    /// Whether each connection begins with a PROXY header.
    #[serde(default)]
    pub(crate) proxy_protocol: bool,
    /// Its own limit of connections, without which it shares `limits.connections`.
    #[serde(default, deserialize_with = "connections")]
    pub(crate) connections: Option<u32>,
    #[serde(default = "all_services")]
    pub(crate) serves: Vec<Service>,
}

/// What a listener may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Service {
    /// The device socket.
    Devices,
    /// The HTTP API and the dashboard.
    Api,
    /// The metrics for Prometheus.
    Metrics,
}

/// The limit of a listener that serves metrics only.
const MONITORING_CONNECTIONS: u32 = 100;

const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

impl Service {
    pub(crate) const ALL: [Self; 3] = [Self::Devices, Self::Api, Self::Metrics];

    /// As in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Api => "api",
            Self::Metrics => "metrics",
        }
    }
}

impl Listener {
    pub(crate) fn serves(&self, service: Service) -> bool {
        self.serves.contains(&service)
    }

    /// A listener of `listen`, which serves everything.
    pub(crate) fn at(address: SocketAddr, tls: TlsChoice) -> Self {
        Self {
            address,
            tls,
            certificate: None,
            key: None,
            clients: None,
            client_ca: None,
            client_cert: None,
            client_id: None,
            client_register: None,
            client_replaces_token: None,
            client_crl: None,
            client_crl_expired: None,
            proxy_protocol: false,
            connections: None,
            serves: all_services(),
        }
    }

    fn check(mut self, index: usize, sources: &ConfigSources) -> Result<Self, ConfigError> {
        let section = format!("listener[{index}]");
        let address = self.address;
        let invalid =
            |problem: &str| sources.invalid(&section, format!("listener {address}: {problem}"));
        self.tls = match (self.certificate.take(), self.key.take()) {
            (None, None) => TlsChoice::Off,
            (Some(certificate), Some(key)) => {
                TlsChoice::Files { certificate, key, section: section.clone() }
            }
            (Some(_), None) => return Err(invalid("certificate is set but key is not")),
            (None, Some(_)) => return Err(invalid("key is set but certificate is not")),
        };
        if self.serves.is_empty() {
            let problem = "serves is empty; list some of \"devices\", \"api\" and \"metrics\"";
            return Err(invalid(problem));
        }
        let clients = ClientKeys {
            ca: self.client_ca.take(),
            cert: self.client_cert.take(),
            id: self.client_id.take(),
            register: self.client_register.take(),
            replaces_token: self.client_replaces_token.take(),
            crl: self.client_crl.take(),
            crl_expired: self.client_crl_expired.take(),
        };
        let (has_tls, for_devices) = (self.tls != TlsChoice::Off, self.serves(Service::Devices));
        self.clients = clients.check(has_tls, for_devices).map_err(|problem| invalid(&problem))?;
        if self.serves == [Service::Metrics] {
            self.connections.get_or_insert(MONITORING_CONNECTIONS);
        }
        Ok(self)
    }
}

/// All listeners: those of `listen` with the certificate of `[tls]`, then those with a section.
pub(crate) fn check(
    listen: Option<Vec<SocketAddr>>,
    tls: Tls,
    listeners: Vec<Listener>,
    sources: &ConfigSources,
) -> Result<Vec<Listener>, ConfigError> {
    let tls = tls.check(sources)?;
    let default = || if listeners.is_empty() { vec![DEFAULT_LISTEN.into()] } else { Vec::new() };
    let listen = listen.unwrap_or_else(default);
    if listen.is_empty() && listeners.is_empty() {
        return Err(sources.invalid("listen", "listen is empty; list at least one address"));
    }
    if listen.is_empty() && tls != TlsChoice::Off {
        let problem = "[tls] is set, but listen has no address that it could apply to";
        return Err(sources.invalid("tls", problem));
    }
    let listen = listen.into_iter().map(|address| Ok(Listener::at(address, tls.clone())));
    let listeners = listeners.into_iter().enumerate();
    let listeners = listeners.map(|(index, listener)| listener.check(index, sources));
    let all: Vec<Listener> = listen.chain(listeners).collect::<Result<_, _>>()?;
    for (index, listener) in all.iter().enumerate() {
        let earlier = all[..index].iter().map(|other| other.address);
        if let Some(problem) = earlier.filter_map(|other| overlap(other, listener.address)).next() {
            return Err(sources.invalid("listen", problem));
        }
    }
    Ok(all)
}

/// Why the system does not let one process listen on both addresses.
fn overlap(one: SocketAddr, other: SocketAddr) -> Option<String> {
    if one.port() != other.port() || one.port() == 0 {
        return None;
    }
    let plain = |address: SocketAddr| match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    };
    if plain(one) == plain(other) {
        return Some(format!("listener {one} is configured twice; remove one of them"));
    }
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        let narrow = narrow.ip().to_canonical();
        wide.ip().to_canonical().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    let (wide, narrow) = match (covers(one, other), covers(other, one)) {
        (true, _) => (one, other),
        (_, true) => (other, one),
        _ => return None,
    };
    let also =
        if wide.is_ipv6() && narrow.ip().to_canonical().is_ipv4() { ", IPv4 as well" } else { "" };
    Some(format!(
        "listener {wide} takes every address of that port{also}: remove the listener {narrow}"
    ))
}

fn connections<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    number::<_, _, 1, MAX_U32>(d).map(Some)
}

fn all_services() -> Vec<Service> {
    Service::ALL.to_vec()
}

const ADDRESS: &str = "must be IP:PORT, such as \"127.0.0.1:8080\" or \"[::]:8443\"";

fn address<'de, D: Deserializer<'de>>(d: D) -> Result<SocketAddr, D::Error> {
    parsed(d, |text| text.parse().ok(), ADDRESS)
}

/// One address or a list of them.
pub(crate) fn addresses<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<Vec<SocketAddr>>, D::Error> {
    match Value::deserialize(d)? {
        list @ Value::Array(_) => parsed_list(list, |text| text.parse().ok(), ADDRESS).map(Some),
        one => address(one).map(|address| Some(vec![address])),
    }
    .map_err(|error| Error::custom(error.message()))
}

/// Addresses and networks, such as 10.0.0.0/8.
pub(crate) fn networks<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: &str| {
        text.parse().or_else(|_| text.parse().map(|address: IpAddr| address.into())).ok()
    };
    let expected = "must be an IP address or a network, such as \"10.0.0.1\" or \"10.0.0.0/8\"";
    parsed_list(d, network, expected)
}

/// The path of the device socket.
pub(crate) fn path<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let expected = format!(
        "must be a path such as {DEFAULT_PATH:?}: segments of letters, digits, '-', '.', '_' and '~', \
         each after a '/'; not one of the server's other paths, /api/v1, /assets, /healthz, /metrics, /readyz \
         and /session"
    );
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_segment = |part: &str| !part.is_empty() && part.bytes().all(is_allowed);
    let path = |text: &str| {
        let is_path = text.strip_prefix('/')?.split('/').all(is_segment);
        (is_path && !is_taken(text)).then(|| Some(text.to_owned()))
    };
    parsed(d, path, &expected)
}

/// Something else is at this path, and would be hidden.
fn is_taken(path: &str) -> bool {
    let is_in = |parent: &str| path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'));
    ["/api/v1", "/assets", "/healthz", "/metrics", "/readyz", "/session"].contains(&path)
        || ["/api/v1", "/assets"].into_iter().any(is_in)
}
