//! The dead letters of queues: added, bounded, listed and expired, all under the lock of the row of their queue.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::Row;

use super::rows::{Change, Queue, count};
use super::sql;
use super::steps::{STEP_BYTES, STEP_ROWS};
use crate::columns::to_column;
use crate::dead_letters::DeadLetter;
use crate::postgres::call::Tx;
use crate::postgres::columns::{get, unsigned};
use crate::postgres::failure::Result;
use crate::queue_item::QueueItem;

/// An item that becomes a dead letter.
pub(super) struct Parked<'a> {
    pub(super) sequence: i64,
    pub(super) lane: String,
    pub(super) bytes: u64,
    pub(super) at: i64,
    pub(super) reason: Cow<'a, str>,
}

/// How many dead letters a queue has, and their bytes.
struct Size {
    letters: u64,
    bytes: u64,
}

/// Copies items to the dead letters. Returns how many of those were deleted for them.
pub(super) async fn park(
    tx: &Tx,
    queue: i64,
    parked: Vec<Parked<'_>>,
    change: &mut Change,
) -> Result<u64> {
    let Some(before) = Queue::lock(tx, queue).await? else { return Ok(0) };
    let sequences: Vec<_> = parked.iter().map(|it| it.sequence).collect();
    let lanes: Vec<_> = parked.iter().map(|it| &*it.lane).collect();
    let times: Vec<_> = parked.iter().map(|it| it.at).collect();
    let reasons: Vec<_> = parked.iter().map(|it| &*it.reason).collect();
    let added = tx.execute(sql::ADD_DEAD_LETTERS, &[&sequences, &lanes, &times, &reasons]).await?;
    let bytes: u64 = parked.iter().map(|it| it.bytes).sum();
    let mut size = Size { letters: before.parked + added, bytes: before.parked_bytes + bytes };
    let most = to_column(DeadLetter::MAX_PER_LANE);
    let most_bytes = to_column(DeadLetter::MAX_BYTES_PER_LANE);
    let rows = tx.query(sql::BOUND_DEAD_LETTERS, &[&queue, &lanes, &most, &most_bytes]).await?;
    for row in &rows {
        size.letters = size.letters.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub(unsigned(row, 0)?);
    }
    let dropped = rows.len() as u64 + bound(tx, queue, &mut size).await?;
    change.parked = to_column(size.letters) - to_column(before.parked);
    change.parked_bytes = to_column(size.bytes) - to_column(before.parked_bytes);
    Ok(dropped)
}

/// Deletes the oldest of a queue that are too many.
async fn bound(tx: &Tx, queue: i64, size: &mut Size) -> Result<u64> {
    let is_above = |size: &Size| {
        size.letters > 1 && (size.letters > DeadLetter::MAX || size.bytes > DeadLetter::MAX_BYTES)
    };
    let mut dropped = 0;
    while is_above(size) {
        let page = tx.query(sql::OLDEST_DEAD_LETTERS, &[&queue, &STEP_ROWS]).await?;
        let mut numbers = Vec::new();
        for row in &page {
            if !is_above(size) {
                break;
            }
            numbers.push(get::<i64>(row, 0)?);
            size.letters -= 1;
            size.bytes = size.bytes.saturating_sub(unsigned(row, 1)?);
        }
        if numbers.is_empty() {
            break;
        }
        dropped += tx.execute(sql::REMOVE_DEAD_LETTERS, &[&numbers]).await?;
    }
    Ok(dropped)
}

/// Deletes a step of the dead letters of a queue. Returns how many.
pub(super) async fn clear(tx: &Tx, queue: &mut Queue) -> Result<u64> {
    let page = tx.query(sql::OLDEST_DEAD_LETTERS, &[&queue.id, &STEP_ROWS]).await?;
    let numbers = page.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>>>()?;
    let bytes = page.iter().map(|row| get::<i64>(row, 1)).sum::<Result<i64>>()?;
    tx.execute(sql::REMOVE_DEAD_LETTERS, &[&numbers]).await?;
    let removed = count(&numbers);
    let change = Change { parked: -removed, parked_bytes: -bytes, ..Change::default() };
    queue.count(tx, change, Duration::ZERO).await?;
    Ok(numbers.len() as u64)
}

/// Those of a queue after this number: up to `rows`, and up to about [`STEP_BYTES`].
pub(super) async fn page(tx: &Tx, name: &str, after: u64, rows: u32) -> Result<Vec<DeadLetter>> {
    let Some(queue) = Queue::find(tx, name).await? else { return Ok(Vec::new()) };
    let (rows, bytes) = (STEP_ROWS.min(rows.into()), to_column(STEP_BYTES));
    let page = tx.query(sql::DEAD_LETTERS, &[&queue.id, &to_column(after), &rows, &bytes]).await?;
    page.iter().map(dead_letter).collect()
}

fn dead_letter(row: &Row) -> Result<DeadLetter> {
    let body = Bytes::from(get::<Vec<u8>>(row, 6)?);
    let item = QueueItem { lane: get(row, 1)?, id: get(row, 2)?, body, at: unsigned(row, 3)? };
    let (number, rejected_at) = (unsigned(row, 0)?, unsigned(row, 4)?);
    Ok(DeadLetter { number, item, rejected_at, reason: get(row, 5)? })
}

/// Deletes a step of those that were rejected before this time. Returns how many.
pub(super) async fn expire(tx: &Tx, before: u64) -> Result<u64> {
    let before = to_column(before);
    let queues = tx.query(sql::EXPIRING_QUEUES, &[&before, &STEP_ROWS]).await?;
    let queues = queues.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>>>()?;
    tx.query(sql::LOCK_QUEUES, &[&queues]).await?;
    let expired = tx.query_opt(sql::EXPIRE_DEAD_LETTERS, &[&before, &queues, &STEP_ROWS]).await?;
    expired.map_or(Ok(0), |row| unsigned(&row, 0))
}
