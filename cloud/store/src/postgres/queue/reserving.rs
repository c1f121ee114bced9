//! Reserving: the heads of lanes that are ready, as far as there is room. Several callers never get the same one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::rows::{Queue, count, heads, millis};
use super::sql;
use super::steps::{STEP_BYTES, STEP_ROWS};
use crate::columns::to_column;
use crate::postgres::call::Tx;
use crate::postgres::columns::{get, unsigned};
use crate::postgres::failure::{Failure, Result};
use crate::queue::{Reservation, Reserved, ReservedItem, Room};
use crate::queue_item::QueueItem;

/// A lane that has its turn, and its first item.
struct Turn {
    lane: i64,
    name: String,
    attempts: u32,
    failures: u32,
    sequence: i64,
}

pub(super) async fn reserve(
    tx: &Tx,
    name: &str,
    room: Room,
    now: Duration,
    until: Duration,
) -> Result<Reserved> {
    let Some(queue) = Queue::find(tx, name).await? else { return Ok(Reserved::default()) };
    let now = queue.time(now);
    let (mut items, mut left) = (Vec::new(), room.bytes.min(STEP_BYTES));
    loop {
        let rows = to_column((room.items - items.len()) as u64).min(STEP_ROWS);
        let (turns, is_last) =
            next(tx, &queue, room, rows, now, (&mut left, items.is_empty())).await?;
        let taken = turns.len();
        items.extend(take(tx, turns, until).await?);
        // A reservation that has ended already would be found again.
        if is_last || taken == 0 || until <= now {
            break;
        }
    }
    if !items.is_empty() {
        tx.execute(sql::ADVANCE_TIME, &[&queue.id, &millis(now)]).await?;
    }
    let next_due = tx.query_opt(sql::NEXT_DUE, &[&queue.id]).await?;
    let next_due = next_due.map(|row| unsigned(&row, 0).map(Duration::from_millis)).transpose()?;
    Ok(Reserved { items, dropped: queue.dropped, next_due })
}

/// The lanes whose turn it is and that there is room for, at most `rows`, and whether there are no others.
async fn next(
    tx: &Tx,
    queue: &Queue,
    room: Room,
    rows: i64,
    now: Duration,
    (left, mut is_first): (&mut u64, bool),
) -> Result<(Vec<Turn>, bool)> {
    if rows <= 0 {
        return Ok((Vec::new(), true));
    }
    let ready = tx.query(sql::READY_LANES, &[&queue.id, &millis(now), &rows]).await?;
    let lanes = ready.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>>>()?;
    let heads = heads(tx, &lanes).await?;
    let (mut turns, mut empty) = (Vec::new(), Vec::new());
    let mut is_last = count(&ready) < rows;
    for (row, lane) in ready.iter().zip(lanes) {
        // A lane has an item; if another program removed it, the lane must not block the others.
        let Some(head) = heads.get(&lane) else {
            empty.push(lane);
            continue;
        };
        let fits = head.bytes <= *left || (is_first && (room.bigger || head.bytes <= room.bytes));
        if !fits {
            is_last = true;
            break;
        }
        is_first = false;
        *left = left.saturating_sub(head.bytes);
        let [attempts, failures] = [2, 3].map(|column| unsigned(row, column));
        turns.push(Turn {
            lane,
            name: get(row, 1)?,
            attempts: u32::try_from(attempts?).unwrap_or(u32::MAX),
            failures: u32::try_from(failures?).unwrap_or(u32::MAX),
            sequence: head.sequence,
        });
    }
    if !empty.is_empty() {
        tx.execute(sql::REMOVE_EMPTY_LANES, &[&empty]).await?;
    }
    Ok((turns, is_last))
}

/// Reserves the first items of these lanes.
async fn take(tx: &Tx, turns: Vec<Turn>, until: Duration) -> Result<Vec<ReservedItem>> {
    if turns.is_empty() {
        return Ok(Vec::new());
    }
    let lanes: Vec<_> = turns.iter().map(|turn| turn.lane).collect();
    let tokens: Vec<i64> = turns.iter().map(|_| rand::random()).collect();
    tx.execute(sql::RESERVE_LANES, &[&lanes, &millis(until), &tokens]).await?;
    let sequences: Vec<_> = turns.iter().map(|turn| turn.sequence).collect();
    let mut items = BTreeMap::new();
    for row in tx.query(sql::ITEMS, &[&sequences]).await? {
        let (id, at, since) = (get(&row, 1)?, unsigned(&row, 2)?, unsigned(&row, 3)?);
        let body = Bytes::from(get::<Vec<u8>>(&row, 4)?);
        let item = QueueItem { lane: String::new(), id, body, at };
        items.insert(get::<i64>(&row, 0)?, (item, Duration::from_millis(since)));
    }
    let reserved = turns.into_iter().zip(tokens).map(|(turn, token)| {
        let Turn { lane, name, attempts, failures, .. } = turn;
        let gone = || Failure::damaged("a reserved item is gone");
        let (item, since) = items.remove(&lane).ok_or_else(gone)?;
        let (reservation, item) = (Reservation { lane, token }, QueueItem { lane: name, ..item });
        Ok(ReservedItem { reservation, item, since, attempts, failures })
    });
    reserved.collect()
}
