//! `listen`, `[[listener]]` and what else says where the server answers: `trusted_proxies` and `path`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use fedecks_cloud::serve::IpNet;
use fedecks_protocol::DEFAULT_PATH;
use serde::de::{Deserialize, Deserializer, Error};

use super::tls::{Tls, TlsChoice};
use crate::config::error::{ConfigError, ConfigSources};
use crate::config::values::{parse_address, parsed};

/// An address that the server listens on.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    #[serde(deserialize_with = "address")]
    pub(crate) address: SocketAddr,
    /// Made from the next two.
    #[serde(skip)]
    pub(crate) tls: TlsChoice,
    pub(in crate::config) certificate: Option<PathBuf>,
    pub(in crate::config) key: Option<PathBuf>,
    /// Whether each connection begins with a PROXY header.
    #[serde(default)]
    pub(crate) proxy_protocol: bool,
    #[serde(default = "all_services")]
    pub(in crate::config) serves: Vec<Service>,
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

    /// A listener without a section of its own: it serves everything.
    pub(in crate::config) fn at(address: SocketAddr, tls: TlsChoice) -> Self {
        let (certificate, key) = (None, None);
        Self { address, tls, certificate, key, proxy_protocol: false, serves: all_services() }
    }

    fn check(mut self, sources: &ConfigSources) -> Result<Self, ConfigError> {
        let invalid = |problem: &str| {
            sources.invalid("listener", format!("listener {}: {problem}", self.address))
        };
        self.tls = match (self.certificate.take(), self.key.take()) {
            (None, None) => TlsChoice::Off,
            (Some(certificate), Some(key)) => TlsChoice::Files { certificate, key },
            (Some(_), None) => return Err(invalid("certificate is set but key is not")),
            (None, Some(_)) => return Err(invalid("key is set but certificate is not")),
        };
        if self.serves.is_empty() {
            let problem = "serves is empty; list some of \"devices\", \"api\" and \"metrics\"";
            return Err(invalid(problem));
        }
        Ok(self)
    }
}

/// All listeners: those of `listen` with the certificate of `[tls]`, then those with a section.
pub(in crate::config) fn check(
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
        let problem = "tls applies to the addresses in `listen`, and there are none";
        return Err(sources.invalid("tls", problem));
    }
    let listen = listen.into_iter().map(|address| Ok(Listener::at(address, tls.clone())));
    listen.chain(listeners.into_iter().map(|listener| listener.check(sources))).collect()
}

fn all_services() -> Vec<Service> {
    Service::ALL.to_vec()
}

const ADDRESS: &str = "must be IP:PORT, such as \"127.0.0.1:8080\" or \"[::]:8443\"";

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parsed(deserializer, |text| parse_address(text).ok(), ADDRESS)
}

/// One address or a list of them.
pub(in crate::config) fn addresses<'de, D>(
    deserializer: D,
) -> Result<Option<Vec<SocketAddr>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "must be IP:PORT in quotes, or a list of them")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }

    let texts = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    };
    let address = |text: &String| {
        parse_address(text).map_err(|_| Error::custom(format_args!("{text:?} {ADDRESS}")))
    };
    texts.iter().map(address).collect::<Result<_, _>>().map(Some)
}

/// Addresses and networks, such as 10.0.0.0/8.
pub(in crate::config) fn networks<'de, D>(deserializer: D) -> Result<Vec<IpNet>, D::Error>
where
    D: Deserializer<'de>,
{
    let network = |text: &String| {
        let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| address.into()));
        network.map_err(|_| {
            let expected = "must be an IP address or a network, such as \"10.0.0.1\" or \
                            \"10.0.0.0/8\"";
            Error::custom(format_args!("{text:?} {expected}"))
        })
    };
    Vec::<String>::deserialize(deserializer)?.iter().map(network).collect()
}

/// The path of the device socket.
pub(in crate::config) fn path<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let expected = format!(
        "must be a path such as {DEFAULT_PATH:?}: segments of letters, digits, '-', '.', '_' and '~', \
         each after a '/'"
    );
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    let is_path =
        |text: &str| text.strip_prefix('/')?.split('/').all(is_plain).then(|| text.to_owned());
    parsed(deserializer, is_path, &expected).map(Some)
}
