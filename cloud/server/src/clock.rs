//! The time as people and programs are told it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time in seconds since 1970-01-01 UTC as `2026-01-31T12:00:00Z`; the number itself where no
/// calendar goes so far.
pub(crate) fn utc(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// The same, or `never`.
pub(crate) fn utc_or_never(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "never".into(), utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        // As `date -u -d @SECONDS` says.
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(u64::MAX), "18446744073709551615");
        assert_eq!(utc_or_never(None), "never");
    }
}
