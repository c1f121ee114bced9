//! The rows of a queue, its lanes and its items. Every change keeps the counters of the queue right.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::sql;
use crate::queue::{QueueBudget, QueueStatus, Reservation, ReservedItem};
use crate::queue_item::QueueItem;
use crate::sqlite::columns::{from_column, to_column, unsigned};

/// A queue in a transaction. What changes is in the store after [`Queue::save`].
pub(super) struct Queue<'a> {
    pub(super) database: &'a Connection,
    pub(super) id: i64,
    /// On its clock, in milliseconds.
    time: u64,
    /// The position of the lane that became ready last.
    turn: u64,
    items: u64,
    bytes: u64,
    /// The number of items that were dropped so far.
    dropped: u64,
    pub(super) parked: u64,
    pub(super) parked_bytes: u64,
}

/// The first item of a lane.
pub(super) struct Head {
    pub(super) sequence: i64,
    pub(super) bytes: u64,
}

/// A lane that is ready.
pub(super) struct Lane {
    id: i64,
    name: String,
    attempts: u32,
    failures: u32,
}

impl<'a> Queue<'a> {
    pub(super) fn find(database: &'a Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        database
            .prepare_cached(sql::FIND_QUEUE)?
            .query_row([name], |row| {
                Ok(Self {
                    database,
                    id: row.get(0)?,
                    time: unsigned(row, 1)?,
                    turn: unsigned(row, 2)?,
                    items: unsigned(row, 3)?,
                    bytes: unsigned(row, 4)?,
                    dropped: unsigned(row, 5)?,
                    parked: unsigned(row, 6)?,
                    parked_bytes: unsigned(row, 7)?,
                })
            })
            .optional()
    }

    /// [`Queue::find`], which adds the queue if there is none.
    pub(super) fn open(database: &'a Connection, name: &str) -> rusqlite::Result<Self> {
        if let Some(found) = Self::find(database, name)? {
            return Ok(found);
        }
        let id = database.prepare_cached(sql::ADD_QUEUE)?.insert([name])?;
        let (time, turn, items, bytes, dropped, parked, parked_bytes) = (0, 0, 0, 0, 0, 0, 0);
        Ok(Self { database, id, time, turn, items, bytes, dropped, parked, parked_bytes })
    }

    pub(super) fn status(&self) -> QueueStatus {
        let time = Duration::from_millis(self.time);
        QueueStatus { time, items: self.items, bytes: self.bytes, dropped: self.dropped }
    }

    pub(super) fn is_above(&self, budget: QueueBudget) -> bool {
        self.items > budget.items || self.bytes > budget.bytes
    }

    /// The time: its clock never goes back.
    pub(super) fn time(&self, now: Duration) -> Duration {
        now.max(Duration::from_millis(self.time))
    }

    /// Writes the counters and the time.
    pub(super) fn save(&mut self, now: Duration) -> rusqlite::Result<QueueStatus> {
        self.time = self.time.max(from_column(millis(now)));
        let mut save = self.database.prepare_cached(sql::SAVE_QUEUE)?;
        save.execute(params![
            self.id,
            to_column(self.time),
            to_column(self.turn),
            to_column(self.items),
            to_column(self.bytes),
            to_column(self.dropped),
            to_column(self.parked),
            to_column(self.parked_bytes)
        ])?;
        Ok(self.status())
    }

    /// Counts items that are lost.
    pub(super) fn count_dropped(&mut self, items: u64) {
        self.dropped += items;
    }

    /// Appends an item to its lane, which is ready at once if it is new.
    pub(super) fn add(&mut self, item: &QueueItem, now: Duration) -> rusqlite::Result<()> {
        let lane = self.lane(&item.lane, now)?;
        let bytes = item.stored_bytes();
        self.database.prepare_cached(sql::ADD_ITEM)?.execute(params![
            self.id,
            lane,
            item.id,
            to_column(item.at),
            millis(now),
            to_column(bytes),
            &item.body[..]
        ])?;
        self.items += 1;
        self.bytes += bytes;
        Ok(())
    }

    fn lane(&mut self, name: &str, now: Duration) -> rusqlite::Result<i64> {
        let mut find = self.database.prepare_cached(sql::FIND_LANE)?;
        if let Some(found) = find.query_row(params![self.id, name], |row| row.get(0)).optional()? {
            return Ok(found);
        }
        let turn = self.next_turn();
        let mut add = self.database.prepare_cached(sql::ADD_LANE)?;
        add.insert(params![self.id, name, millis(now), turn])
    }

    /// The position of a lane that becomes ready now.
    fn next_turn(&mut self) -> i64 {
        self.turn += 1;
        to_column(self.turn)
    }

    /// The lane whose turn it is, and its first item.
    pub(super) fn next(&mut self, now: Duration) -> rusqlite::Result<Option<(Lane, Head)>> {
        loop {
            let lane = self
                .database
                .prepare_cached(sql::NEXT_LANE)?
                .query_row(params![self.id, millis(now)], |row| {
                    let (id, name) = (row.get(0)?, row.get(1)?);
                    Ok(Lane { id, name, attempts: row.get(2)?, failures: row.get(3)? })
                })
                .optional()?;
            let Some(lane) = lane else { return Ok(None) };
            if let Some(head) = self.head(lane.id)? {
                return Ok(Some((lane, head)));
            }
            // A lane has an item; if another program removed it, the lane must not block the others.
            self.database.prepare_cached(sql::REMOVE_LANE)?.execute([lane.id])?;
        }
    }

    /// When the first lane is ready.
    pub(super) fn next_due(&self) -> rusqlite::Result<Option<Duration>> {
        let mut next = self.database.prepare_cached(sql::NEXT_DUE)?;
        next.query_row([self.id], |row| unsigned(row, 0).map(Duration::from_millis)).optional()
    }

    /// Reserves the first item of a lane.
    pub(super) fn reserve(
        &self,
        lane: Lane,
        head: &Head,
        until: Duration,
    ) -> rusqlite::Result<ReservedItem> {
        let Lane { id: lane, name, attempts, failures } = lane;
        let token = rand::random();
        let mut reserve = self.database.prepare_cached(sql::RESERVE_LANE)?;
        reserve.execute(params![lane, millis(until), token])?;
        let (item, since) = self.item(head.sequence, name)?;
        let reservation = Reservation { lane, token };
        Ok(ReservedItem { reservation, item, since, attempts, failures })
    }

    /// The name of the lane, if the reservation exists.
    pub(super) fn reserved(&self, reservation: Reservation) -> rusqlite::Result<Option<String>> {
        let Reservation { lane, token } = reservation;
        let mut find = self.database.prepare_cached(sql::RESERVED_LANE)?;
        find.query_row(params![lane, self.id, token], |row| row.get(0)).optional()
    }

    pub(super) fn head(&self, lane: i64) -> rusqlite::Result<Option<Head>> {
        let mut find = self.database.prepare_cached(sql::HEAD)?;
        find.query_row([lane], |row| Ok(Head { sequence: row.get(0)?, bytes: unsigned(row, 1)? }))
            .optional()
    }

    /// An item, and when it was added.
    pub(super) fn item(
        &self,
        sequence: i64,
        lane: String,
    ) -> rusqlite::Result<(QueueItem, Duration)> {
        self.database.prepare_cached(sql::ITEM)?.query_row([sequence], |row| {
            let (id, at, body) = (row.get(0)?, unsigned(row, 1)?, row.get::<_, Vec<u8>>(3)?);
            let item = QueueItem { lane, id, body: Bytes::from(body), at };
            Ok((item, unsigned(row, 2).map(Duration::from_millis)?))
        })
    }

    /// A lane waits until `due`.
    pub(super) fn delay(
        &mut self,
        lane: i64,
        due: Duration,
        counted: bool,
    ) -> rusqlite::Result<()> {
        let turn = self.next_turn();
        let mut delay = self.database.prepare_cached(sql::DELAY_LANE)?;
        delay.execute(params![lane, millis(due), turn, counted])?;
        Ok(())
    }

    /// Removes the first item of a lane, whose next one is ready behind all others.
    pub(super) fn advance(
        &mut self,
        lane: i64,
        head: &Head,
        now: Duration,
    ) -> rusqlite::Result<()> {
        if self.remove(lane, head)? {
            let turn = self.next_turn();
            let mut advance = self.database.prepare_cached(sql::ADVANCE_LANE)?;
            advance.execute(params![lane, millis(now), turn])?;
        }
        Ok(())
    }

    /// Removes an item. Returns whether its lane has others; otherwise the lane is removed too.
    fn remove(&mut self, lane: i64, item: &Head) -> rusqlite::Result<bool> {
        self.database.prepare_cached(sql::REMOVE_ITEM)?.execute([item.sequence])?;
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(item.bytes);
        if self.head(lane)?.is_some() {
            return Ok(true);
        }
        self.database.prepare_cached(sql::REMOVE_LANE)?.execute([lane])?;
        Ok(false)
    }

    /// Drops the oldest items that are not reserved until the queue is within its budget, or about `bytes` are
    /// dropped. Returns how many.
    pub(super) fn drop_oldest(&mut self, budget: QueueBudget, bytes: u64) -> rusqlite::Result<u64> {
        let (mut dropped, mut freed, mut after) = (0, 0, 0);
        while self.is_above(budget) && freed < bytes {
            let mut oldest = self.database.prepare_cached(sql::OLDEST)?;
            let found = oldest.query_row(params![self.id, after], lane_and_item).optional()?;
            let Some((lane, item)) = found else { break };
            if self.remove(lane, &item)? {
                self.database.prepare_cached(sql::RESET_FAILURES)?.execute([lane])?;
            }
            dropped += 1;
            self.dropped += 1;
            freed += item.bytes;
            after = item.sequence;
        }
        Ok(dropped)
    }

    /// Removes up to `rows` items, reserved ones too, or about `bytes`. Returns how many.
    pub(super) fn clear(&mut self, rows: u64, bytes: u64) -> rusqlite::Result<u64> {
        let (mut removed, mut freed) = (0, 0);
        while removed < rows && freed < bytes {
            let mut any = self.database.prepare_cached(sql::ANY_ITEM)?;
            let found = any.query_row([self.id], lane_and_item).optional()?;
            let Some((lane, item)) = found else { break };
            self.remove(lane, &item)?;
            removed += 1;
            freed += item.bytes;
        }
        Ok(removed)
    }
}

/// Reads a row of its number, its lane and its size.
fn lane_and_item(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Head)> {
    Ok((row.get(1)?, Head { sequence: row.get(0)?, bytes: unsigned(row, 2)? }))
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
