//! Formats and reads times according to RFC 3339, in UTC.

use std::fmt;
use std::time::{Duration, SystemTime};

use humantime::{
    Rfc3339Timestamp, format_rfc3339_millis, format_rfc3339_seconds, parse_rfc3339_weak,
};

/// The end of the year 9999, the last that RFC 3339 can write, in seconds since 1970-01-01 UTC.
const LAST: u64 = 253_402_300_799;

/// Seconds since 1970-01-01 UTC as `2026-01-31T12:00:00Z`; the number itself after the year 9999.
pub fn utc(seconds: u64) -> String {
    if seconds > LAST {
        return seconds.to_string();
    }
    format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// The inverse of [`utc`] for a time in UTC, without its fraction of a second; `None` for any other text. On 32-bit
/// targets also for a time after 2038, which the library underneath does not read there.
///
/// ```
/// # use fedecks_common::parse_utc;
/// assert_eq!(parse_utc("2026-12-31T23:59:59Z"), Some(1_798_761_599));
/// assert_eq!(parse_utc("tomorrow"), None);
/// ```
pub fn parse_utc(text: &str) -> Option<u64> {
    let rest = text.strip_suffix('Z').filter(|rest| rest.contains('T') && !rest.contains('Z'))?;
    // It also reads texts without a zone, whose zone is unknown, and a Z.
    let at = parse_rfc3339_weak(rest).ok()?;
    at.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// `2026-01-31T12:00:00.123Z`. A time before 1970 or after the year 9999 is shown as 1970-01-01.
pub fn utc_millis(at: SystemTime) -> impl fmt::Display {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = if since.as_secs() > LAST { Duration::ZERO } else { since };
    let timestamp: Rfc3339Timestamp = format_rfc3339_millis(SystemTime::UNIX_EPOCH + since);
    timestamp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        // As `date -u -d @SECONDS` says.
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(utc(4_102_444_799), "2099-12-31T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(utc(LAST), "9999-12-31T23:59:59Z");
        assert_eq!(utc(u64::MAX), "18446744073709551615");
    }

    #[test]
    fn only_a_complete_time_in_utc_is_read() {
        let is_read =
            |seconds: u64| cfg!(target_pointer_width = "64") || i32::try_from(seconds).is_ok();
        for seconds in [0, 951_782_400, 1_735_689_599, 4_107_542_400, LAST] {
            assert_eq!(parse_utc(&utc(seconds)), Some(seconds).filter(|it| is_read(*it)));
        }
        assert_eq!(parse_utc("2026-12-31T23:59:59.999Z"), Some(1_798_761_599));
        for text in [
            "",
            "Z",
            "TZ",
            "2026-12-31",
            "2026-12-31Z",
            "2026-12-31T23:59:59",
            "2026-12-31 23:59:59Z",
            "2026-12-31T23:59:59+01:00",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-12-31T23:59:59ZZ",
            "\u{fc}026-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_utc(text), None, "{text:?}");
        }
    }

    #[test]
    fn milliseconds_are_shown_and_impossible_times_are_1970() {
        let shown = |milliseconds| {
            utc_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)).to_string()
        };
        assert_eq!(shown(1_769_860_800_123), "2026-01-31T12:00:00.123Z");
        assert_eq!(shown((LAST + 1) * 1000), "1970-01-01T00:00:00.000Z");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(utc_millis(before).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
