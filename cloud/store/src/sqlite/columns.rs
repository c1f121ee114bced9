//! Values as they stand in SQLite's columns.

/// SQLite's integers have a sign and ours don't; neither seconds nor counters come near the end.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn read(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An error over a value that nobody who uses this library can have written.
pub(super) fn damaged(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}
