//! The rows of a queue, its lanes and its items. Every change is counted in the row of the queue.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Row;

use super::sql;
use super::steps::STEP_ROWS;
use crate::columns::{from_column, to_column};
use crate::postgres::call::{Tx, Values};
use crate::postgres::columns::{get, text, unsigned};
use crate::postgres::failure::{Failure, Result};
use crate::queue::{QueueBudget, QueueStatus};
use crate::queue_item::QueueItem;

/// A queue as its row says.
pub(super) struct Queue {
    pub(super) id: i64,
    /// On its clock.
    time: Duration,
    pub(super) items: u64,
    pub(super) bytes: u64,
    /// The number of items that were dropped so far.
    pub(super) dropped: u64,
    pub(super) parked: u64,
    pub(super) parked_bytes: u64,
}

/// What a transaction changes of the counters of a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change {
    pub(super) items: i64,
    pub(super) bytes: i64,
    pub(super) dropped: i64,
    pub(super) parked: i64,
    pub(super) parked_bytes: i64,
}

/// An item, without its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) lane: i64,
    pub(super) sequence: i64,
    pub(super) bytes: u64,
}

impl Queue {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: get(row, 0)?,
            time: Duration::from_millis(unsigned(row, 1)?),
            items: unsigned(row, 2)?,
            bytes: unsigned(row, 3)?,
            dropped: unsigned(row, 4)?,
            parked: unsigned(row, 5)?,
            parked_bytes: unsigned(row, 6)?,
        })
    }

    pub(super) async fn find(tx: &Tx, name: &str) -> Result<Option<Self>> {
        tx.query_opt(sql::FIND, &[&text(name)]).await?.as_ref().map(Self::from_row).transpose()
    }

    /// Adds the queue if there is none. It is not removed before the end of the transaction.
    pub(super) async fn open(tx: &Tx, name: &str) -> Result<Self> {
        let name = text(name);
        let found = match tx.query_opt(sql::OPEN, &[&name]).await? {
            Some(found) => Some(found),
            None => tx.query_opt(sql::ADD, &[&name]).await?,
        };
        Self::from_row(&found.ok_or_else(|| Failure::damaged("a new queue has no row"))?)
    }

    /// Locks the row, which is the last lock that a transaction waits for.
    pub(super) async fn lock(tx: &Tx, id: i64) -> Result<Option<Self>> {
        tx.query_opt(sql::LOCK, &[&id]).await?.as_ref().map(Self::from_row).transpose()
    }

    /// [`Queue::lock`] for one that is to be removed: no one is adding items any more.
    pub(super) async fn lock_to_remove(tx: &Tx, id: i64) -> Result<Option<Self>> {
        tx.query_opt(sql::LOCK_TO_REMOVE, &[&id]).await?.as_ref().map(Self::from_row).transpose()
    }

    /// Changes the counters, which locks the row. Others may have changed them meanwhile.
    pub(super) async fn count(&mut self, tx: &Tx, change: Change, now: Duration) -> Result<()> {
        let Change { items, bytes, dropped, parked, parked_bytes } = change;
        let values: Values<'_> =
            &[&self.id, &millis(now), &items, &bytes, &dropped, &parked, &parked_bytes];
        // A caller that removes a queue waits for those that change it, and then finds what they added.
        if let Some(row) = tx.query_opt(sql::COUNT, values).await? {
            *self = Self::from_row(&row)?;
        }
        Ok(())
    }

    pub(super) fn status(&self) -> QueueStatus {
        let Self { time, items, bytes, dropped, .. } = *self;
        QueueStatus { time, items, bytes, dropped }
    }

    /// The time: its clock never goes back.
    pub(super) fn time(&self, now: Duration) -> Duration {
        now.max(self.time)
    }
}

/// Appends items to their lanes, which are ready at once if they are new.
pub(super) async fn add(tx: &Tx, queue: i64, items: &[QueueItem], now: Duration) -> Result<Change> {
    if items.is_empty() {
        return Ok(Change::default());
    }
    let mut places = BTreeMap::new();
    for (place, item) in (0_i64..).zip(items) {
        places.entry(text(&item.lane)).or_insert(place);
    }
    let (names, places): (Vec<_>, Vec<_>) = places.into_iter().unzip();
    let lanes = tx.query(sql::OPEN_LANES, &[&queue, &millis(now), &names, &places]).await?;
    let mut ids = BTreeMap::new();
    for row in &lanes {
        ids.insert(get::<String>(row, 1)?, get::<i64>(row, 0)?);
    }
    let lane = |item: &QueueItem| ids.get(&*text(&item.lane)).copied();
    let lanes: Option<Vec<i64>> = items.iter().map(lane).collect();
    let lanes = lanes.ok_or_else(|| Failure::damaged("a new lane has no row"))?;
    let texts: Vec<_> = items.iter().map(|item| text(&item.id)).collect();
    let times: Vec<_> = items.iter().map(|item| to_column(item.at)).collect();
    let bytes: Vec<_> = items.iter().map(|item| to_column(item.stored_bytes())).collect();
    let bodies: Vec<_> = items.iter().map(|item| &item.body[..]).collect();
    let values: Values<'_> = &[&queue, &millis(now), &lanes, &texts, &times, &bytes, &bodies];
    tx.execute(sql::ADD_ITEMS, values).await?;
    Ok(Change { items: count(items), bytes: bytes.iter().sum(), ..Change::default() })
}

/// The first items of these lanes.
pub(super) async fn heads(tx: &Tx, lanes: &[i64]) -> Result<BTreeMap<i64, Head>> {
    let rows = tx.query(sql::HEADS, &[&lanes]).await?;
    let head = |row| {
        let head = Head { lane: get(row, 0)?, sequence: get(row, 1)?, bytes: unsigned(row, 2)? };
        Ok((head.lane, head))
    };
    rows.iter().map(head).collect()
}

/// How many there are, as a counter.
pub(super) fn count<T>(of: &[T]) -> i64 {
    i64::try_from(of.len()).unwrap_or(i64::MAX)
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Drops the oldest items that are not reserved until the queue is within its budget, or about `bytes` are dropped.
/// Passes over lanes that someone else is changing, as the row of the queue is locked. Returns how many.
pub(super) async fn drop_oldest(
    tx: &Tx,
    queue: &mut Queue,
    budget: QueueBudget,
    bytes: u64,
) -> Result<u64> {
    let (mut removed, mut freed, mut after) = (Vec::new(), 0, 0_i64);
    let (mut lanes, mut rows) = (Vec::new(), 16);
    let excess = queue.items.saturating_sub(budget.items);
    let is_above = |removed: &[i64], freed| {
        queue.items.saturating_sub(removed.len() as u64) > budget.items
            || queue.bytes.saturating_sub(freed) > budget.bytes
    };
    rows = rows.max(to_column(excess)).min(STEP_ROWS);
    while is_above(&removed, freed) && freed < bytes {
        let page = tx.query(sql::OLDEST, &[&queue.id, &after, &rows]).await?;
        let Some(last) = page.last() else { break };
        let last: i64 = get(last, 0)?;
        let mut of_page = page.iter().map(|row| get(row, 1)).collect::<Result<Vec<i64>>>()?;
        of_page.sort_unstable();
        of_page.dedup();
        let locked = tx.query(sql::LOCK_FREE_LANES, &[&of_page]).await?;
        let locked = locked.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>>>()?;
        for row in tx.query(sql::DROPPABLE, &[&queue.id, &after, &last, &locked]).await? {
            if !is_above(&removed, freed) || freed >= bytes {
                break;
            }
            removed.push(get(&row, 0)?);
            lanes.push(get::<i64>(&row, 1)?);
            freed += unsigned(&row, 2)?;
        }
        if count(&page) < rows {
            break;
        }
        (after, rows) = (last, STEP_ROWS);
    }
    if removed.is_empty() {
        return Ok(0);
    }
    tx.execute(sql::REMOVE_ITEMS, &[&removed]).await?;
    tx.execute(sql::REMOVE_EMPTY_LANES, &[&lanes]).await?;
    tx.execute(sql::RESET_FAILURES, &[&lanes]).await?;
    let dropped = count(&removed);
    let change = Change { items: -dropped, bytes: -to_column(freed), dropped, ..Change::default() };
    queue.count(tx, change, Duration::ZERO).await?;
    Ok(from_column(dropped))
}
