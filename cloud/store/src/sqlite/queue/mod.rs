//! The queues in SQLite. Whatever their size, they are read and changed in small steps, between which others have
//! their turn.

mod dead_letters;
mod rows;
mod sql;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rusqlite::{Connection, Transaction, params};

use self::rows::{Queue, millis};
use super::store::SqliteStore;
use crate::boxed::StoreFuture;
use crate::dead_letters::DeadLetter;
use crate::messages::Enqueue;
use crate::queue::{
    Dropped, QueueBudget, QueueStatus, QueueStore, Reservation, Reserved, Room, Settled, Settlement,
};
use crate::queue_item::QueueItem;

/// How many rows a step changes.
const STEP_ROWS: u64 = 500;

/// A step that reads or deletes ends after about this many bytes.
const STEP_BYTES: u64 = 8 * 1024 * 1024;

/// Adds an item to a queue whose caller does not reserve its items, within a transaction of something else.
pub(super) fn enqueue_in(tx: &Connection, enqueue: &Enqueue) -> rusqlite::Result<()> {
    let mut queue = Queue::open(tx, &enqueue.queue)?;
    // At the time of the last change, as its clock is with the one who reserves.
    let now = queue.time(Duration::ZERO);
    queue.add(&enqueue.item, now)?;
    queue.drop_oldest(enqueue.budget, STEP_BYTES)?;
    queue.save(now).map(drop)
}

impl QueueStore for SqliteStore {
    fn queue_status<'a>(&'a self, queue: &'a str) -> StoreFuture<'a, QueueStatus> {
        let name = queue.to_owned();
        self.read_bulk(move |database| {
            Ok(Queue::find(database, &name)?.map(|queue| queue.status()).unwrap_or_default())
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
        let name = queue.to_owned();
        Box::pin(async move {
            let added = self.write_bulk(move |tx| {
                let mut queue = Queue::open(tx, &name)?;
                let now = queue.time(now);
                queue.count_dropped(missed);
                items.iter().try_for_each(|item| queue.add(item, now))?;
                let dropped = queue.drop_oldest(budget, STEP_BYTES)?;
                Ok(Dropped { items: dropped, status: queue.save(now)? })
            });
            let added = added.await?;
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
        let name = queue.to_owned();
        self.write_bulk_unsynced(move |tx| reserve(tx, &name, room, now, until))
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
                let (name, step) = (queue.to_owned(), settlements.clone());
                let (done, settled) =
                    self.write_bulk(move |tx| settle(tx, &name, &step, now)).await?;
                settlements.drain(..done);
                dead_letters_dropped += settled.dead_letters_dropped;
                if settlements.is_empty() {
                    return Ok(Settled { dead_letters_dropped, ..settled });
                }
            }
        })
    }

    fn release<'a>(&'a self, queue: &'a str, now: Duration) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut released = 0;
            loop {
                let name = queue.to_owned();
                let step = self.write_bulk(move |tx| {
                    let Some(queue) = Queue::find(tx, &name)? else { return Ok(0) };
                    let now = millis(queue.time(now));
                    let mut release = tx.prepare_cached(sql::RELEASE_LANES)?;
                    Ok(release.execute(params![queue.id, now, STEP_ROWS])? as u64)
                });
                let step = step.await?;
                released += step;
                if step < STEP_ROWS {
                    return Ok(released);
                }
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
                let name = queue.to_owned();
                let step = self.write_bulk(move |tx| {
                    let mut queue = Queue::open(tx, &name)?;
                    let items = queue.drop_oldest(budget, STEP_BYTES)?;
                    let is_done = items == 0 || !queue.is_above(budget);
                    Ok((is_done, Dropped { items, status: queue.save(now)? }))
                });
                let (is_done, dropped) = step.await?;
                items += dropped.items;
                if is_done {
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
            let first = prefix.to_owned();
            let found: Vec<String> = self
                .read_bulk(move |database| {
                    let mut names = database.prepare_cached(sql::QUEUE_NAMES)?;
                    names.query_map([&first], |row| row.get(0))?.collect()
                })
                .await?;
            let is_kept = |name: &String| !name.starts_with(prefix) || names.contains(name);
            let mut removed = 0;
            for name in found.into_iter().filter(|name| !is_kept(name)) {
                loop {
                    let name = name.clone();
                    let step = self.write_bulk(move |tx| remove_step(tx, &name)).await?;
                    let Some(step) = step else { break };
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
        let name = queue.to_owned();
        self.read_bulk(move |database| {
            let Some(queue) = Queue::find(database, &name)? else { return Ok(Vec::new()) };
            let limit = limit.min(STEP_ROWS as u32);
            dead_letters::page(database, queue.id, after, limit, STEP_BYTES)
        })
    }

    fn expire_dead_letters(&self, now: u64) -> StoreFuture<'_, u64> {
        let before = now.saturating_sub(DeadLetter::MAX_AGE);
        self.write_bulk(move |tx| dead_letters::expire(tx, before, STEP_ROWS, STEP_BYTES))
    }
}

fn reserve(
    database: &Connection,
    name: &str,
    room: Room,
    now: Duration,
    until: Duration,
) -> rusqlite::Result<Reserved> {
    let Some(mut queue) = Queue::find(database, name)? else { return Ok(Reserved::default()) };
    let now = queue.time(now);
    let (mut items, mut left) = (Vec::new(), room.bytes.min(STEP_BYTES));
    while items.len() < room.items {
        let Some((lane, head)) = queue.next(now)? else { break };
        let fits =
            head.bytes <= left || (items.is_empty() && (room.bigger || head.bytes <= room.bytes));
        if !fits {
            break;
        }
        left = left.saturating_sub(head.bytes);
        items.push(queue.reserve(lane, &head, until)?);
    }
    if !items.is_empty() {
        queue.save(now)?;
    }
    Ok(Reserved { items, dropped: queue.status().dropped, next_due: queue.next_due()? })
}

/// Ends reservations, until a step has enough bytes. Returns how many.
fn settle(
    database: &Connection,
    name: &str,
    settlements: &[(Reservation, Settlement)],
    now: Duration,
) -> rusqlite::Result<(usize, Settled)> {
    let mut queue = Queue::open(database, name)?;
    let now = queue.time(now);
    let (mut done, mut bytes, mut dead_letters_dropped) = (0, 0, 0);
    for (reservation, settlement) in settlements {
        if bytes >= STEP_BYTES {
            break;
        }
        done += 1;
        let Some(lane) = queue.reserved(*reservation)? else { continue };
        let Some(head) = queue.head(reservation.lane)? else { continue };
        match settlement {
            Settlement::RetryAt { due, counted } => {
                queue.delay(reservation.lane, *due, *counted)?;
                continue;
            }
            Settlement::Park { reason, at } => {
                dead_letters_dropped += queue.park(&head, lane, reason, *at)?;
            }
            Settlement::Drop => queue.count_dropped(1),
            Settlement::Complete => {}
        }
        queue.advance(reservation.lane, &head, now)?;
        bytes += head.bytes;
    }
    Ok((done, Settled { dead_letters_dropped, status: queue.save(now)? }))
}

/// Removes a part of a queue. Returns how many items, and `None` when the queue is gone.
fn remove_step(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    let Some(mut queue) = Queue::find(tx, name)? else { return Ok(None) };
    let removed = queue.clear(STEP_ROWS, STEP_BYTES)?;
    if removed == 0 && queue.clear_dead_letters(STEP_ROWS, STEP_BYTES)? == 0 {
        tx.prepare_cached(sql::REMOVE_QUEUE)?.execute([queue.id])?;
        return Ok(Some(0));
    }
    queue.save(Duration::ZERO)?;
    Ok(Some(removed))
}
