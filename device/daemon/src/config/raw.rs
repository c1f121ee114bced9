//! The keys of the configuration and the types of their values. Values are not yet checked against each other.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use fedecks_common::HumanDuration;
use fedecks_device::CloudUrl;
use fedecks_network_watch::NetworkWatch;
use fedecks_protocol::DeviceId;
use serde::de::{self, Deserialize, Deserializer, Unexpected};

use crate::identity::IdSource;

/// Declares each key once: as a field of [`Raw`], and in [`KEYS`] for the environment.
macro_rules! keys {
    ($($key:ident: $type:ty,)*) => {
        /// What the file and the environment set.
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct Raw {
            $(pub(super) $key: Option<$type>,)*
        }

        pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];
    };
}

keys! {
    url: Parsed<Url>,
    device_id: Parsed<DeviceId>,
    device_id_from: Parsed<IdSource>,
    data_dir: Parsed<PathBuf>,
    ca_file: Parsed<PathBuf>,
    only_ca_file: Flag,
    client_cert: Parsed<PathBuf>,
    client_key: Parsed<PathBuf>,
    provision_file: Parsed<PathBuf>,
    backoff_base: Parsed<BackoffBound>,
    backoff_cap: Parsed<BackoffBound>,
    network: Parsed<NetworkWatch>,
    max_decoded: Bytes,
    max_waiting: Bytes,
    report_interval: Parsed<Interval>,
    unreachable_action: Parsed<PathBuf>,
    unreachable_after: Parsed<Interval>,
    log: Parsed<LogLevel>,
}

/// Keys whose default is safe in place of an invalid value: it is the same device, it trusts the same, and it connects
/// to the same cloud. The others end the start.
pub(super) const REPLACEABLE: &[&str] = &[
    "backoff_base",
    "backoff_cap",
    "network",
    "max_decoded",
    "max_waiting",
    "report_interval",
    "unreachable_action",
    "unreachable_after",
    "log",
];

/// A value that is written as a string, which is not empty.
#[derive(Debug)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(NonEmpty)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

struct NonEmpty;

impl de::Visitor<'_> for NonEmpty {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        if text.is_empty() { Err(E::custom("must not be empty")) } else { Ok(text.to_owned()) }
    }
}

/// A boolean. It may be quoted, as an environment variable is a string.
#[derive(Debug)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TrueOrFalse)
    }
}

struct TrueOrFalse;

impl de::Visitor<'_> for TrueOrFalse {
    type Value = Flag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
        Ok(Flag(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
        text.parse().map(Flag).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// A number of bytes of memory. It may be quoted, as an environment variable is a string.
#[derive(Debug)]
pub(super) struct Bytes(pub(super) usize);

impl Bytes {
    const LEAST: u64 = 64 * 1024;
    const MOST: u64 = 64 * 1024 * 1024;
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOfBytes)
    }
}

struct NumberOfBytes;

impl de::Visitor<'_> for NumberOfBytes {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of bytes from {} to {}", Bytes::LEAST, Bytes::MOST)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Bytes, E> {
        let bytes = usize::try_from(value).ok();
        let bytes = bytes.filter(|_| (Bytes::LEAST..=Bytes::MOST).contains(&value));
        bytes.map(Bytes).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Bytes, E> {
        let wrong = || E::invalid_value(Unexpected::Signed(value), &self);
        u64::try_from(value).map_err(|_| wrong()).and_then(|value| self.visit_u64(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        let wrong = || E::invalid_value(Unexpected::Str(text), &self);
        text.parse().map_err(|_| wrong()).and_then(|value| self.visit_u64(value))
    }
}

#[derive(Debug)]
pub(super) struct Url(pub(super) CloudUrl);

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| {
            // Anything beyond a scheme, a host and a path may be a secret.
            let is_plain = |rest: &str| {
                rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/'))
            };
            match text.split_once("://") {
                Some((scheme, rest)) if is_plain(scheme) && is_plain(rest) => {
                    format!("{text:?}: {error}")
                }
                _ => error.to_string(),
            }
        })
    }
}

/// An upper bound of the waits between attempts.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackoffBound(pub(super) Duration);

impl FromStr for BackoffBound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        within(text, Duration::from_millis(1), DAY, "1ms to 1d").map(Self)
    }
}

/// The duration of an optional task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval(pub(super) Duration);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        within(text, Duration::from_secs(1), 365 * DAY, "1s to 365d").map(Self)
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn within(text: &str, min: Duration, max: Duration, range: &str) -> Result<Duration, String> {
    let HumanDuration(duration) = text.parse().map_err(|error| format!("{error} ({range})"))?;
    match (min..=max).contains(&duration) {
        true => Ok(duration),
        false => Err(format!("{text:?} is out of range ({range})")),
    }
}

#[derive(Debug)]
pub(super) struct LogLevel(pub(super) tracing::Level);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected error, warn, info, debug or trace";
        // Numbers are levels to tracing, and hardly meant.
        let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let level = text.parse().ok().filter(|_| is_word);
        level.map(Self).ok_or_else(|| format!("{text:?} is not a log level; {expected}"))
    }
}
