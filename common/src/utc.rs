//! Formats times according to RFC 3339, in UTC.

use std::fmt;
use std::time::{Duration, SystemTime};

use humantime::{Rfc3339Timestamp, format_rfc3339_millis, format_rfc3339_seconds};

/// The end of the year 9999, the last that RFC 3339 can write, in seconds since 1970-01-01 UTC.
const LAST: u64 = 253_402_300_799;

/// Seconds since 1970-01-01 UTC as `2026-01-31T12:00:00Z`; the number itself after the year 9999.
pub fn utc(seconds: u64) -> String {
    if seconds > LAST {
        return seconds.to_string();
    }
    format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
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
