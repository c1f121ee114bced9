//! The file's form, before it is known whether its values make sense together.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedecks_cloud::IpNet;
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
    pub(super) lifetime: Option<Span>,
    pub(super) refresh: Option<Span>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sessions {
    pub(super) heartbeat: Option<Span>,
    pub(super) idle_timeout: Option<Span>,
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
    pub(super) handshake: Option<Span>,
    pub(super) request_body: Option<Span>,
    pub(super) failed_logins_per_address: Option<u32>,
    pub(super) failed_logins_per_account: Option<u32>,
    pub(super) request_head: Option<usize>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drain {
    pub(super) spread: Option<Span>,
    pub(super) deadline: Option<Span>,
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
    pub(super) timeout: Option<Span>,
    pub(super) max_age: Option<Span>,
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

/// A duration as people write it: a whole number and a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(Duration);

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl Span {
    /// A hundred years: nothing here lasts longer, and sums with it don't overflow.
    const LONGEST_SECONDS: u64 = 100 * 365 * 24 * 3600;

    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let milliseconds_per_unit: u64 = match unit.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            "d" => 24 * 3600 * 1000,
            "w" => 7 * 24 * 3600 * 1000,
            _ => return None,
        };
        let duration = Duration::from_millis(number.checked_mul(milliseconds_per_unit)?);
        (duration.as_secs() <= Self::LONGEST_SECONDS).then_some(Self(duration))
    }
}

/// A duration of the command line, in the form of those in the file.
pub(crate) fn parse_span(text: &str) -> Result<Duration, &'static str> {
    let expected = "expected a whole number with ms, s, m, h, d or w, such as 90d";
    Span::parse(text).map(|span| span.0).ok_or(expected)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a duration in quotes: a whole number with ms, s, m, h, d or w, such as \"90s\"",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        let parsed = |text| Span::parse(text).map(|span| span.0.as_millis());
        assert_eq!(parsed("250ms"), Some(250));
        assert_eq!(parsed("19s"), Some(19_000));
        assert_eq!(parsed("2 m"), Some(120_000));
        assert_eq!(parsed("3h"), Some(10_800_000));
        assert_eq!(parsed("1d"), Some(86_400_000));
        assert_eq!(parsed("4w"), Some(2_419_200_000));
        for bad in ["", "5", "s", "-1s", "1.5h", "1 year", "99999999999999999999s", "5300w"] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }
}
