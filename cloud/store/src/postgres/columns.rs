//! Conversions of column values.

use std::borrow::Cow;
use std::net::IpAddr;

use fedecks_protocol::{DeviceId, Lane, Tag};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::failure::Failure;
use crate::columns::tag_from_column;
pub(super) use crate::columns::{from_column, later_of, tag_to_column, to_column};

/// A value of any type.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Failure> {
    Ok(row.try_get(column)?)
}

pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, Failure> {
    get(row, column).map(from_column)
}

pub(super) fn optional_unsigned(row: &Row, column: usize) -> Result<Option<u64>, Failure> {
    Ok(get::<Option<i64>>(row, column)?.map(from_column))
}

/// An address, as text.
pub(super) fn address(row: &Row, column: usize) -> Result<Option<IpAddr>, Failure> {
    let address: Option<&str> = get(row, column)?;
    address.map(|address| address.parse().map_err(Failure::damaged)).transpose()
}

pub(super) fn device_id(row: &Row, column: usize) -> Result<DeviceId, Failure> {
    DeviceId::new(get::<String>(row, column)?).map_err(Failure::damaged)
}

/// All 64 bits of an id are used.
pub(super) fn id_to_column(id: u64) -> i64 {
    i64::from_ne_bytes(id.to_ne_bytes())
}

/// A text as it can be kept: PostgreSQL has no texts with the character 0.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

pub(super) fn tag(row: &Row, column: usize) -> Result<Tag, Failure> {
    get(row, column).map(tag_from_column)
}

pub(super) fn lane(row: &Row, column: usize) -> Result<Lane, Failure> {
    let number = unsigned(row, column)?;
    Lane::from_number(number).ok_or_else(|| Failure::damaged(format!("{number} is not a lane")))
}

/// An id of sixteen bytes.
pub(super) fn id(row: &Row, column: usize) -> Result<[u8; 16], Failure> {
    let bytes: &[u8] = get(row, column)?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| Failure::damaged(format!("an id of {length} bytes")))
}

/// Bytes of a fixed number, or nothing.
pub(super) fn bytes<const N: usize>(row: &Row, column: usize) -> Result<Option<[u8; N]>, Failure> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes.map(|bytes| bytes.try_into().map_err(Failure::damaged)).transpose()
}
