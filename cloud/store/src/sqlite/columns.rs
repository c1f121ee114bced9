//! Conversions of column values.

use std::net::IpAddr;

use fedecks_protocol::{Lane, Tag};
use rusqlite::Row;

/// SQLite's integers are signed; neither seconds nor counters come near the limit.
pub(super) fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn from_column(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(from_column)
}

pub(super) fn optional_unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(from_column))
}

pub(super) fn lane(row: &Row<'_>, column: usize) -> rusqlite::Result<Lane> {
    let number = unsigned(row, column)?;
    Lane::from_number(number).ok_or_else(|| damaged(column, format!("{number} is not a lane")))
}

/// All 64 bits are used.
pub(super) fn tag_to_column(tag: Tag) -> i64 {
    i64::from_ne_bytes(tag.0.to_ne_bytes())
}

pub(super) fn tag(row: &Row<'_>, column: usize) -> rusqlite::Result<Tag> {
    let number: i64 = row.get(column)?;
    Ok(Tag(u64::from_ne_bytes(number.to_ne_bytes())))
}

/// An address, as text.
pub(super) fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<IpAddr>> {
    let address: Option<String> = row.get(column)?;
    let address = address.map(|address| address.parse()).transpose();
    address.map_err(|error| damaged(column, error))
}

/// An error about a value that this library cannot have written.
pub(super) fn damaged(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

/// The later of a column and the parameter 2, see [`later_of`].
pub(super) fn later(column: &str) -> String {
    later_of(column, "?2")
}

/// The later of a column and a new time. But what is more than a day later was noted by a clock that was ahead;
/// without this it would stay until that time has come.
pub(super) fn later_of(column: &str, new: &str) -> String {
    format!("CASE WHEN {column} > {new} AND {column} <= {new} + 86400 THEN {column} ELSE {new} END")
}
