//! The log of messages: appended as the last step of a transaction, read in pages, and trimmed in steps.

use bytes::Bytes;
use fedecks_protocol::{DeviceId, Tag};
use tokio_postgres::Row;

use super::sql;
use crate::columns::{from_column, tag_to_column, to_column};
use crate::messages::{
    LogQuery, LogStatus, LoggedContent, LoggedMessage, NewLogged, StreamPosition,
};
use crate::postgres::call::{Tx, Values};
use crate::postgres::columns::{get, lane, optional_unsigned, tag, unsigned};
use crate::postgres::failure::{Failure, Result};
use crate::postgres::locks;

/// How many rows a step reads or deletes.
const STEP_ROWS: i64 = 500;

/// A step ends after about this many bytes.
const STEP_BYTES: u64 = 8 * 1024 * 1024;

/// The room of a row without its texts.
const ROW: u64 = 120;

/// Messages of a device that are added, in columns.
#[derive(Default)]
pub(super) struct Logged<'a> {
    lanes: Vec<i64>,
    tags: Vec<i64>,
    redelivered: Vec<bool>,
    sent_at_ms: Vec<Option<i64>>,
    times: Vec<i64>,
    raw: Vec<bool>,
    bytes: Vec<i64>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Logged<'a> {
    pub(super) fn push(
        &mut self,
        device: &DeviceId,
        StreamPosition { lane, tag, .. }: StreamPosition,
        message: &'a NewLogged,
    ) {
        let NewLogged { redelivered, sent_at_ms, at, content } = message;
        let (raw, body) = match content {
            LoggedContent::Json(body) => (false, body),
            LoggedContent::Raw(body) => (true, body),
        };
        self.lanes.push(to_column(lane.number()));
        self.tags.push(tag_to_column(tag));
        self.redelivered.push(*redelivered);
        self.sent_at_ms.push(sent_at_ms.map(to_column));
        self.times.push(to_column(*at));
        self.raw.push(raw);
        self.bytes.push(to_column(ROW + device.as_str().len() as u64 + body.len() as u64));
        self.bodies.push(body);
    }

    /// Adds them. The log is locked from then on until the end of the transaction.
    pub(super) async fn add(&self, tx: &Tx, device: &DeviceId) -> Result<()> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        let Self { lanes, tags, redelivered, sent_at_ms, times, raw, bytes, bodies } = self;
        let (device, sum) = (device.as_str(), bytes.iter().sum::<i64>());
        let count = i64::try_from(lanes.len()).unwrap_or(i64::MAX);
        let values: Values<'_> = &[
            &device,
            &count,
            &sum,
            lanes,
            tags,
            redelivered,
            sent_at_ms,
            times,
            raw,
            bytes,
            bodies,
        ];
        tx.execute(sql::ADD_LOGGED, values).await.map(drop)
    }
}

/// What the log has.
pub(in crate::postgres) async fn status(tx: &Tx) -> Result<LogStatus> {
    let row = tx.query_opt(sql::STATUS, &[]).await?;
    let row = row.ok_or_else(|| Failure::damaged("the log has no state"))?;
    let (first, next, bytes) = (unsigned(&row, 0)?, unsigned(&row, 1)? + 1, unsigned(&row, 2)?);
    Ok(LogStatus { first, next, bytes })
}

/// A part of a page, and the last number that was read, if any was.
pub(super) async fn page(
    tx: &Tx,
    after: u64,
    wanted: &LogQuery,
) -> Result<(Vec<LoggedMessage>, Option<u64>)> {
    let headers = tx.query(sql::HEADERS, &[&to_column(after), &STEP_ROWS]).await?;
    let (mut found, mut last, mut bytes) = (Vec::new(), None, 0);
    for row in &headers {
        let number: i64 = get(row, 0)?;
        last = Some(from_column(number));
        let device: String = get(row, 1)?;
        if wanted.devices.iter().all(|pattern| pattern.matches_text(&device)) {
            bytes += unsigned(row, 2)?;
            found.push(number);
        }
        if found.len() >= wanted.limit as usize || bytes >= STEP_BYTES {
            break;
        }
    }
    if found.is_empty() {
        return Ok((Vec::new(), last));
    }
    let rows = tx.query(sql::LOGGED, &[&found]).await?;
    Ok((rows.iter().map(message).collect::<Result<_>>()?, last))
}

/// Deletes up to [`STEP_ROWS`] messages, or about [`STEP_BYTES`]. Returns how many, and whether others may be due.
pub(super) async fn trim(tx: &Tx, before: u64, bytes: u64) -> Result<(u64, bool)> {
    // Two servers that trim at the same time would both count from the same size.
    locks::take(tx, locks::TRIM_LOG).await?;
    let log = status(tx).await?;
    let oldest = tx.query(sql::OLDEST, &[&to_column(log.first), &STEP_ROWS]).await?;
    let (mut last, mut freed) = (None, 0);
    for row in &oldest {
        let (number, at) = (unsigned(row, 0)?, unsigned(row, 1)?);
        let is_due = at < before || log.bytes.saturating_sub(freed) > bytes;
        if !is_due || number + 1 == log.next || freed >= STEP_BYTES {
            break;
        }
        last = Some(number);
        freed += unsigned(row, 2)?;
    }
    let Some(last) = last.map(to_column) else { return Ok((0, false)) };
    let removed = tx.query_opt(sql::TRIM, &[&to_column(log.first), &last]).await?;
    let removed = removed.ok_or_else(|| Failure::damaged("a count has no row"))?;
    let (removed, freed): (u64, i64) = (unsigned(&removed, 0)?, get(&removed, 1)?);
    tx.execute(sql::TRIMMED, &[&last, &freed]).await?;
    Ok((removed, true))
}

fn message(row: &Row) -> Result<LoggedMessage> {
    let device = DeviceId::new(get::<String>(row, 1)?).map_err(Failure::damaged)?;
    let body = Bytes::from(get::<Vec<u8>>(row, 8)?);
    let content = if get(row, 7)? { LoggedContent::Raw(body) } else { LoggedContent::Json(body) };
    let (redelivered, at) = (get(row, 4)?, unsigned(row, 6)?);
    let sent_at_ms = optional_unsigned(row, 5)?;
    let message = NewLogged { redelivered, sent_at_ms, at, content };
    let (number, lane, id): (_, _, Tag) = (unsigned(row, 0)?, lane(row, 2)?, tag(row, 3)?);
    Ok(LoggedMessage { number, device, lane, id, message })
}
