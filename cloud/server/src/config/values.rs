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
pub(super) fn number<'de, D: Deserializer<'de>, T: TryFrom<i64>, const MIN: i64, const MAX: i64>(
    d: D,
) -> Result<T, D::Error> {
    let number = i64::deserialize(d).ok().filter(|n| (MIN..=MAX).contains(n));
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        Error::custom(match MAX {
            NO_MAX => format!("must be a whole number, at least {MIN}"),
            _ => format!("must be a whole number from {MIN} to {MAX}"),
        })
    })
}

/// A duration such as `90s`.
pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    HumanDuration::deserialize(d).map(Duration::from)
}

/// A duration above zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    duration_if(d, |duration| !duration.is_zero(), "must be longer than 0s")
}

/// A duration in whole seconds, at least one.
pub(super) fn whole_seconds<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let is_whole = |duration: Duration| !duration.is_zero() && duration.subsec_nanos() == 0;
    duration_if(d, is_whole, "must be in whole seconds, at least 1s")
}

/// A duration in whole seconds, which may be zero.
pub(super) fn whole_seconds_or_none<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    duration_if(d, |duration| duration.subsec_nanos() == 0, "must be in whole seconds")
}

/// A duration that `is_valid` accepts.
pub(super) fn duration_if<'de, D: Deserializer<'de>>(
    d: D,
    is_valid: impl FnOnce(Duration) -> bool,
    expected: &str,
) -> Result<Duration, D::Error> {
    let duration = duration(d)?;
    if is_valid(duration) { Ok(duration) } else { Err(Error::custom(expected)) }
}

/// A text that `parse` accepts. `expected` completes a sentence about it.
pub(super) fn parsed<'de, D: Deserializer<'de>, T>(
    d: D,
    parse: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Result<T, D::Error> {
    let text = String::deserialize(d).map_err(|_| Error::custom(expected))?;
    parse(&text).ok_or_else(|| Error::custom(format_args!("{text:?} {expected}")))
}

/// [`parsed`] for a list.
pub(super) fn parsed_list<'de, D: Deserializer<'de>, T>(
    d: D,
    parse: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(d)?;
    let item = |text: &String| {
        parse(text).ok_or_else(|| Error::custom(format_args!("{text:?} {expected}")))
    };
    texts.iter().map(item).collect()
}

/// An address to listen on.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected IP:PORT, such as 127.0.0.1:8080 or [::]:8443")
}
