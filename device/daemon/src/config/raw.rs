//! The keys of the configuration and the types of their values. Values are not yet checked against each other.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use fedecks_common::HumanDuration;
use fedecks_device::CloudUrl;
use fedecks_network_watch::NetworkWatch;
use fedecks_protocol::DeviceId;
use toml::de::DeValue;

use crate::identity::IdSource;

/// Declares each key once: as a field of [`Raw`], and in [`KEYS`] for the environment.
macro_rules! keys {
    ($($key:ident: $type:ty,)*) => {
        /// What the file and the environment set.
        #[derive(Debug, Default)]
        pub(super) struct Raw {
            $(pub(super) $key: Option<$type>,)*
        }

        pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];

        impl Raw {
            /// Sets the key `name`, which must be one of [`KEYS`]. The error says what was expected instead.
            pub(super) fn set(&mut self, name: &str, value: &DeValue<'_>) -> Result<(), String> {
                $(if name == stringify!($key) {
                    self.$key = Some(FromValue::from_value(value)?);
                })*
                Ok(())
            }
        }
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
    client_cert_login: Flag,
    provision_file: Parsed<PathBuf>,
    backoff_base: Parsed<BackoffBound>,
    backoff_cap: Parsed<BackoffBound>,
    network: Parsed<NetworkWatch>,
    max_decoded: Bytes,
    max_waiting: Bytes,
    keep_bytes: Bytes,
    queue_max_bytes: Number<1_048_576, 1_073_741_824>,
    queue_max_messages: Number<16, 1_000_000>,
    report_interval: Parsed<Interval>,
    unreachable_action: Parsed<PathBuf>,
    unreachable_after: Parsed<Interval>,
    log: Parsed<LogLevel>,
}

impl Raw {
    /// The files and directories that are set, with their keys, without those that have to be absolute.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let keys = [
            ("data_dir", &self.data_dir),
            ("ca_file", &self.ca_file),
            ("client_cert", &self.client_cert),
            ("client_key", &self.client_key),
            ("provision_file", &self.provision_file),
        ];
        keys.into_iter().filter_map(|(key, path)| Some((key, &path.as_ref()?.0)))
    }
}

/// Keys whose default is safe in place of an invalid value: it is the same device, it trusts the same, and it connects
/// to the same cloud. The others end the start.
pub(super) const REPLACEABLE: &[&str] = &[
    "client_cert_login",
    "backoff_base",
    "backoff_cap",
    "network",
    "max_decoded",
    "max_waiting",
    "keep_bytes",
    "queue_max_bytes",
    "queue_max_messages",
    "report_interval",
    "unreachable_action",
    "unreachable_after",
    "log",
];

/// The type of a key's value.
trait FromValue: Sized {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String>;
}

/// A value that is written as a string, which is not empty.
#[derive(Debug)]
pub(super) struct Parsed<T>(pub(super) T);

impl<T: FromStr<Err: Display>> FromValue for Parsed<T> {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        non_empty(value)?.parse().map(Self).map_err(|error: T::Err| error.to_string())
    }
}

fn non_empty<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    match value.as_str() {
        Some("") => Err("must not be empty".into()),
        Some(text) => Ok(text),
        None => Err(invalid(value, "a string in quotes")),
    }
}

/// A boolean. It may be quoted, as an environment variable is a string.
#[derive(Debug)]
pub(super) struct Flag(pub(super) bool);

impl FromValue for Flag {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let expected = "true or false";
        match value {
            DeValue::Boolean(flag) => Ok(Self(*flag)),
            DeValue::String(text) => text.parse().map(Self).map_err(|_| invalid(value, expected)),
            _ => Err(invalid(value, expected)),
        }
    }
}

/// A number of bytes of memory. It may be quoted, as an environment variable is a string.
#[derive(Debug)]
pub(super) struct Bytes(pub(super) usize);

impl FromValue for Bytes {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        const LEAST: usize = 64 * 1024;
        const MOST: usize = 64 * 1024 * 1024;

        number(value)
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| (LEAST..=MOST).contains(number))
            .map(Self)
            .ok_or_else(|| invalid(value, &format!("a number of bytes from {LEAST} to {MOST}")))
    }
}

/// A number within these bounds. It may be quoted, as an environment variable is a string.
#[derive(Debug)]
pub(super) struct Number<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<const LEAST: u64, const MOST: u64> FromValue for Number<LEAST, MOST> {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let number = number(value).filter(|number| (LEAST..=MOST).contains(number));
        let expected = || invalid(value, &format!("a number from {LEAST} to {MOST}"));
        number.map(Self).ok_or_else(expected)
    }
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
        DeValue::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Says that a value is another than expected.
fn invalid(value: &DeValue<'_>, expected: &str) -> String {
    let found = match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(digits) => digits.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Float(_) => "a number with a fraction".into(),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    };
    format!("must be {expected}, not {found}")
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
