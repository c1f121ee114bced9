//! The file's form, before it is known whether its values make sense together.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use fedecks_cloud::serve::IpNet;
use fedecks_common::HumanDuration;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use toml::Table;

use super::error::{ConfigError, in_file};
use super::secret::Secret;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) listen: Option<Addresses>,
    pub(super) listener: Vec<Listener>,
    pub(super) trusted_proxies: Vec<Network>,
    pub(super) path: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) store: Option<PathBuf>,
    pub(super) secret: Option<Secret>,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) salt: Option<Secret>,
    pub(super) salt_file: Option<PathBuf>,
    pub(super) former: Vec<Former>,
    pub(super) tls: Tls,
    pub(super) tokens: Tokens,
    pub(super) sessions: Sessions,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) events: Events,
    pub(super) webhook: Vec<Webhook>,
    pub(super) audit: Audit,
    pub(super) log: Log,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Former {
    pub(super) secret: Option<Secret>,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) salt: Option<Secret>,
    pub(super) salt_file: Option<PathBuf>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    #[serde(default)]
    pub(super) proxy_protocol: bool,
    pub(super) serves: Option<Vec<Part>>,
}

/// What a listener may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// The device socket.
    Devices,
    /// The HTTP API.
    Api,
    /// What Prometheus asks for.
    Metrics,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) self_signed: Option<bool>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tokens {
    pub(super) lifetime: Option<HumanDuration>,
    pub(super) refresh: Option<HumanDuration>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sessions {
    pub(super) heartbeat: Option<HumanDuration>,
    pub(super) idle_timeout: Option<HumanDuration>,
    pub(super) max_frame: Option<u32>,
    pub(super) max_header: Option<usize>,
    pub(super) messages_per_second: Option<u32>,
    pub(super) message_burst: Option<u32>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) connections: Option<u32>,
    pub(super) connections_per_address: Option<u32>,
    pub(super) accepts_per_second: Option<u32>,
    pub(super) accept_burst: Option<u32>,
    pub(super) handshake: Option<HumanDuration>,
    pub(super) request_body: Option<HumanDuration>,
    pub(super) failed_logins_per_address: Option<u32>,
    pub(super) failed_logins_per_account: Option<u32>,
    pub(super) request_head: Option<usize>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drain {
    pub(super) spread: Option<HumanDuration>,
    pub(super) deadline: Option<HumanDuration>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Events {
    pub(super) keep: Option<usize>,
    pub(super) keep_bytes: Option<usize>,
    pub(super) streams: Option<usize>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) secret: Option<Secret>,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) kinds: Option<Vec<String>>,
    pub(super) devices: Option<String>,
    pub(super) timeout: Option<HumanDuration>,
    pub(super) max_age: Option<HumanDuration>,
    pub(super) keep: Option<usize>,
    pub(super) keep_bytes: Option<u64>,
    pub(super) concurrency: Option<usize>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    pub(super) keep: Option<u32>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Option<LogLevel>,
    pub(super) format: Option<LogFormat>,
}

/// Which log lines are written: those of this level and the more important ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Reads `file` and checks its form, but not yet its values against each other. Without a file there
/// is nothing in the table.
pub(super) fn read(file: Option<&Path>) -> Result<Table, ConfigError> {
    let Some(file) = file else { return Ok(Table::new()) };
    let text = fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    // From the text, since only then an error knows its line.
    toml::from_str::<Raw>(&text).map_err(|error| in_file(file, &text, &error))?;
    toml::from_str(&text).map_err(|error| in_file(file, &text, &error))
}

/// One address or a list of them.
#[derive(Debug)]
pub(super) struct Addresses(Vec<SocketAddr>);

impl From<Vec<SocketAddr>> for Addresses {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Self(addresses)
    }
}

impl From<Addresses> for Vec<SocketAddr> {
    fn from(addresses: Addresses) -> Self {
        addresses.0
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an IP address with a port, such as \"0.0.0.0:8443\" or \"[::]:8443\", or a \
                     list of them",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
                let address =
                    text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Addresses(vec![address]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Addresses, A::Error> {
                let mut all = Vec::new();
                while let Some(Addresses(one)) = items.next_element()? {
                    all.extend(one);
                }
                Ok(Addresses(all))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

/// An address or a network, such as 10.0.0.0/8.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network(IpNet);

impl From<Network> for IpNet {
    fn from(network: Network) -> Self {
        network.0
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| address.into()));
        network.map(Self).map_err(|_| {
            let expected = "an IP address or a network, such as \"10.0.0.1\" or \"10.0.0.0/8\"";
            de::Error::invalid_value(de::Unexpected::Str(&text), &expected)
        })
    }
}
