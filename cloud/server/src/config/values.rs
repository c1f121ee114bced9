//! Readers for single values, with errors that say what a value must be. They know no key and no section.

use std::net::SocketAddr;
use std::time::Duration;

use fedecks_common::HumanDuration;
use serde::de::{Deserialize, Deserializer, Error};

/// For [`number`]: the largest that a `u32` holds.
pub(super) const MAX_U32: i64 = u32::MAX as i64;

/// For [`number`]: no limit that a user would meet.
pub(super) const NO_MAX: i64 = i64::MAX;

/// A whole number from `MIN` to `MAX`.
pub(super) fn number<'de, D, T, const MIN: i64, const MAX: i64>(
    deserializer: D,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = i64::deserialize(deserializer).ok().filter(|n| (MIN..=MAX).contains(n));
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        Error::custom(match MAX {
            NO_MAX => format!("must be a whole number, at least {MIN}"),
            _ => format!("must be a whole number from {MIN} to {MAX}"),
        })
    })
}

/// A duration such as `90s`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    HumanDuration::deserialize(deserializer).map(Duration::from)
}

/// A duration above zero.
pub(super) fn positive_duration<'de, D>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let duration = duration(deserializer)?;
    if duration.is_zero() { Err(Error::custom("must be longer than 0s")) } else { Ok(duration) }
}

/// A duration in whole seconds, at least one.
pub(super) fn whole_seconds<'de, D>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let duration = duration(deserializer)?;
    if duration.is_zero() || duration.subsec_nanos() != 0 {
        return Err(Error::custom("must be in whole seconds, at least 1s"));
    }
    Ok(duration)
}

/// A text that `parse` understands. `expected` completes the sentence "it ...".
pub(super) fn parsed<'de, D, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer).map_err(|_| Error::custom(expected))?;
    parse(&text).ok_or_else(|| Error::custom(format_args!("{text:?} {expected}")))
}

/// Why a text is not an address to listen on.
#[derive(Debug, thiserror::Error)]
#[error("expected IP:PORT, such as 127.0.0.1:8080 or [::]:8443")]
pub(crate) struct InvalidAddress;

/// An address to listen on.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, InvalidAddress> {
    text.parse().map_err(|_| InvalidAddress)
}
