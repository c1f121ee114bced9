//! The queues in PostgreSQL. Whatever their size, they are read and changed in small steps, between which others have
//! their turn.

mod dead_letters;
mod reserving;
mod rows;
mod settling;
mod sql;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use self::rows::{Change, Queue, add, drop_oldest, millis};
use self::steps::{STEP_BYTES, STEP_ROWS, STEP_SETTLEMENTS};
use super::call::Tx;
use super::columns::{get, text, unsigned};
use super::failure::Result;
use super::lanes::Lane;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::columns::to_column;
use crate::dead_letters::DeadLetter;
use crate::messages::Enqueue;
use crate::queue::{
    Dropped, QueueBudget, QueueStatus, QueueStore, Reservation, Reserved, Room, Settled, Settlement,
};
use crate::queue_item::QueueItem;

/// Adds items to queues whose callers do not reserve their items, within a transaction of something else. Of the
/// budgets of a queue the last one counts.
pub(super) async fn enqueue_in(tx: &Tx, items: &[&Enqueue]) -> Result<()> {
    let mut of_queues: BTreeMap<&str, (Vec<QueueItem>, QueueBudget)> = BTreeMap::new();
    for Enqueue { queue, item, budget } in items {
        let (items, last) = of_queues.entry(queue).or_insert_with(|| (Vec::new(), *budget));
        items.push(item.clone());
        *last = *budget;
    }
    let mut added = Vec::new();
    for (name, (items, budget)) in of_queues {
        added.push((Queue::open(tx, name).await?, items, budget));
    }
    // All wait for their locks in this order.
    added.sort_by_key(|(queue, ..)| queue.id);
    let mut changes = Vec::new();
    for (queue, items, budget) in added {
        // At the time of the last change, as its clock is with the one who reserves.
        let change = add(tx, queue.id, &items, queue.time(Duration::ZERO)).await?;
        changes.push((queue, change, budget));
    }
    for (mut queue, change, budget) in changes {
        queue.count(tx, change, Duration::ZERO).await?;
        drop_oldest(tx, &mut queue, budget, STEP_BYTES).await?;
    }
    Ok(())
}

impl QueueStore for PostgresStore {
    fn queue_status<'a>(&'a self, queue: &'a str) -> StoreFuture<'a, QueueStatus> {
        self.read(Lane::Bulk, queue.to_owned(), |tx, name| {
            Box::pin(async move {
                let found = Queue::find(tx, name).await?;
                Ok(found.map(|queue| queue.status()).unwrap_or_default())
            })
        })
    }

    fn enqueue<'a>(
        &'a self,
        queue: &'a str,
        items: Vec<QueueItem>,
        missed: u64,
        budget: QueueBudget,
        now: Duration,
    ) -> StoreFuture<'a, Dropped> {
        Box::pin(async move {
            let added = self.add_step(queue, (items, missed), budget, now).await?;
            // Its limits were lowered.
            let more = self.drop_oldest(queue, budget, now);
            let is_above = added.status.items > budget.items || added.status.bytes > budget.bytes;
            let more = if is_above && added.items > 0 { more.await.ok() } else { None };
            Ok(more.map_or(added, |more| Dropped { items: added.items + more.items, ..more }))
        })
    }

    fn reserve<'a>(
        &'a self,
        queue: &'a str,
        room: Room,
        now: Duration,
        until: Duration,
    ) -> StoreFuture<'a, Reserved> {
        let args = (queue.to_owned(), room, now, until);
        self.write(Lane::Bulk, args, |tx, (name, room, now, until)| {
            Box::pin(reserving::reserve(tx, name, *room, *now, *until))
        })
    }

    fn settle<'a>(
        &'a self,
        queue: &'a str,
        mut settlements: Vec<(Reservation, Settlement)>,
        now: Duration,
    ) -> StoreFuture<'a, Settled> {
        Box::pin(async move {
            let mut dead_letters_dropped = 0;
            loop {
                let left = settlements.split_off(settlements.len().min(STEP_SETTLEMENTS));
                let args = (queue.to_owned(), settlements, now);
                let settled = self.write(Lane::Bulk, args, |tx, (name, step, now)| {
                    Box::pin(settling::settle(tx, name, step, *now))
                });
                let settled = settled.await?;
                dead_letters_dropped += settled.dead_letters_dropped;
                if left.is_empty() {
                    return Ok(Settled { dead_letters_dropped, ..settled });
                }
                settlements = left;
            }
        })
    }

    fn release<'a>(&'a self, queue: &'a str, now: Duration) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let (mut released, mut after) = (0, None);
            loop {
                let args = (queue.to_owned(), now, after);
                let step = self.write(Lane::Bulk, args, |tx, (name, now, after)| {
                    Box::pin(release(tx, name, *now, after.as_deref()))
                });
                let (lanes, last) = step.await?;
                released += lanes;
                if lanes < STEP_ROWS as u64 {
                    return Ok(released);
                }
                after = last;
            }
        })
    }

    fn drop_oldest<'a>(
        &'a self,
        queue: &'a str,
        budget: QueueBudget,
        now: Duration,
    ) -> StoreFuture<'a, Dropped> {
        Box::pin(async move {
            let mut items = 0;
            loop {
                let dropped = self.add_step(queue, (Vec::new(), 0), budget, now).await?;
                items += dropped.items;
                let QueueStatus { items: left, bytes, .. } = dropped.status;
                if dropped.items == 0 || (left <= budget.items && bytes <= budget.bytes) {
                    return Ok(Dropped { items, ..dropped });
                }
            }
        })
    }

    fn keep_only_queues<'a>(
        &'a self,
        prefix: &'a str,
        names: &'a [String],
    ) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let found = self.read(Lane::Bulk, prefix.to_owned(), |tx, prefix| {
                Box::pin(async move {
                    let rows = tx.query(sql::NAMES, &[&text(prefix)]).await?;
                    rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<String>>>()
                })
            });
            let found = found.await?;
            let mut removed = 0;
            for name in found.into_iter().filter(|name| !names.contains(name)) {
                loop {
                    let step = self.write(Lane::Bulk, name.clone(), |tx, name| {
                        Box::pin(remove_step(tx, name))
                    });
                    let Some(step) = step.await? else { break };
                    removed += step;
                }
            }
            Ok(removed)
        })
    }

    fn dead_letters<'a>(
        &'a self,
        queue: &'a str,
        after: u64,
        limit: u32,
    ) -> StoreFuture<'a, Vec<DeadLetter>> {
        self.read(Lane::Bulk, (queue.to_owned(), after, limit), |tx, (name, after, limit)| {
            Box::pin(dead_letters::page(tx, name, *after, *limit))
        })
    }

    fn expire_dead_letters(&self, now: u64) -> StoreFuture<'_, u64> {
        let before = now.saturating_sub(DeadLetter::MAX_AGE);
        self.write(Lane::Bulk, before, |tx, before| Box::pin(dead_letters::expire(tx, *before)))
    }
}

impl PostgresStore {
    /// Adds items, and drops what exceeds the budget, up to a step.
    fn add_step(
        &self,
        queue: &str,
        (items, missed): (Vec<QueueItem>, u64),
        budget: QueueBudget,
        now: Duration,
    ) -> StoreFuture<'_, Dropped> {
        let args = (queue.to_owned(), items, missed, budget, now);
        self.write(Lane::Bulk, args, |tx, (name, items, missed, budget, now)| {
            Box::pin(async move {
                let mut queue = Queue::open(tx, name).await?;
                let now = queue.time(*now);
                let added = add(tx, queue.id, items, now).await?;
                let change = Change { dropped: to_column(*missed), ..added };
                queue.count(tx, change, now).await?;
                let items = drop_oldest(tx, &mut queue, *budget, STEP_BYTES).await?;
                Ok(Dropped { items, status: queue.status() })
            })
        })
    }
}

/// Makes a step of the lanes ready, those after a name. Returns how many, and the last name.
async fn release(
    tx: &Tx,
    name: &str,
    now: Duration,
    after: Option<&str>,
) -> Result<(u64, Option<String>)> {
    let Some(queue) = Queue::find(tx, name).await? else { return Ok((0, None)) };
    let now = millis(queue.time(now));
    let row = tx.query_one(sql::RELEASE_LANES, &[&queue.id, &now, &after, &STEP_ROWS]).await?;
    Ok((unsigned(&row, 0)?, get(&row, 1)?))
}

/// Removes a part of a queue. Returns how many items, and `None` when the queue is gone.
async fn remove_step(tx: &Tx, name: &str) -> Result<Option<u64>> {
    let Some(mut queue) = Queue::find(tx, name).await? else { return Ok(None) };
    let lanes = tx.query(sql::LOCK_ANY_LANES, &[&queue.id, &STEP_ROWS]).await?;
    let lanes = lanes.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>>>()?;
    if !lanes.is_empty() {
        let rows = tx.query(sql::CLEAR_LANES, &[&lanes, &STEP_ROWS]).await?;
        let bytes = rows.iter().map(|row| get::<i64>(row, 0)).sum::<Result<i64>>()?;
        tx.execute(sql::REMOVE_EMPTY_LANES, &[&lanes]).await?;
        let change = Change { items: -rows::count(&rows), bytes: -bytes, ..Change::default() };
        queue.count(tx, change, Duration::ZERO).await?;
        return Ok(Some(rows.len() as u64));
    }
    // All callers that add items are done after this, and their lanes are seen.
    let Some(mut queue) = Queue::lock_to_remove(tx, queue.id).await? else { return Ok(None) };
    let is_used = tx.query_opt(sql::ANY_LANE, &[&queue.id]).await?.is_some();
    if !is_used && dead_letters::clear(tx, &mut queue).await? == 0 {
        tx.execute(sql::REMOVE, &[&queue.id]).await?;
    }
    Ok(Some(0))
}
