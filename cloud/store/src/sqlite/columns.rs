//! Conversions of column values.

use std::net::IpAddr;

use fedecks_protocol::{Lane, Tag};
use rusqlite::Row;

use crate::columns::tag_from_column;
pub(super) use crate::columns::{from_column, later_of, tag_to_column, to_column};

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

pub(super) fn tag(row: &Row<'_>, column: usize) -> rusqlite::Result<Tag> {
    row.get(column).map(tag_from_column)
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
