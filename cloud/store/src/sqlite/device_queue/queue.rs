//! The messages of one device: its streams, its counters, and the ways out of them for a message.

use fedecks_protocol::{Lane, SkipReason, StreamId, Tag};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sql;
use super::streams::Stream;
use crate::columns::{down_state_from_column, down_state_to_column};
use crate::device_queue::{DownState, DownStatus, DropReason, IdempotencyKey};
use crate::sqlite::columns::{damaged, lane, tag, to_column, unsigned};

/// The queue of a device. Changes take effect with [`Queue::save`].
pub(super) struct Queue<'a> {
    pub(super) database: &'a Connection,
    pub(super) device: &'a str,
    pub(super) streams: Vec<Stream>,
    before: (Vec<Stream>, Counters),
    pub(super) now: Counters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// The number of messages that wait.
    pub(super) waiting: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// The number of settled messages.
    pub(super) settled: u64,
    /// The number of idempotency keys.
    pub(super) keys: u64,
}

/// A message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: i64,
    pub(super) tag: Tag,
    pub(super) lane: Lane,
    pub(super) sequence: u64,
    pub(super) bytes: u64,
}

impl Waiting {
    /// Reads the first columns of a row.
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            tag: tag(row, 1)?,
            lane: lane(row, 2)?,
            sequence: unsigned(row, 3)?,
            bytes: unsigned(row, 4)?,
        })
    }
}

impl<'a> Queue<'a> {
    pub(super) fn open(database: &'a Connection, device: &'a str) -> rusqlite::Result<Self> {
        let mut streams = database.prepare_cached(sql::STREAMS)?;
        let streams: Vec<_> =
            streams.query_map([device], Stream::from_row)?.collect::<Result<_, _>>()?;
        let mut counters = database.prepare_cached(sql::COUNTERS)?;
        let counters = counters.query_row([device], |row| {
            Ok(Counters {
                waiting: unsigned(row, 0)?,
                bytes: unsigned(row, 1)?,
                settled: unsigned(row, 2)?,
                keys: unsigned(row, 3)?,
            })
        });
        let now = counters.optional()?.unwrap_or_default();
        let before = (streams.clone(), now);
        Ok(Self { database, device, streams, before, now })
    }

    pub(super) fn stream(&self, lane: Lane) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.lane == lane)
    }

    pub(super) fn stream_mut(&mut self, lane: Lane) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.lane == lane)
    }

    pub(super) fn lane_of(&self, id: StreamId) -> Option<Lane> {
        self.streams.iter().find(|stream| stream.id == id).map(|stream| stream.lane)
    }

    /// Whether a message was handed out, and may have arrived.
    pub(super) fn is_sent(&self, lane: Lane, sequence: u64) -> bool {
        self.stream(lane).is_some_and(|stream| sequence <= stream.tried)
    }

    /// The messages of a lane with these numbers.
    pub(super) fn waiting(
        &self,
        lane: Lane,
        after: u64,
        up_to: u64,
    ) -> rusqlite::Result<Vec<Waiting>> {
        let mut waiting = self.database.prepare_cached(sql::WAITING)?;
        let lane = to_column(lane.number());
        waiting
            .query_map(
                params![self.device, lane, to_column(after), to_column(up_to)],
                Waiting::from_row,
            )?
            .collect()
    }

    /// Takes a message out of its stream for good.
    pub(super) fn settle(
        &mut self,
        message: &Waiting,
        state: DownState,
        at: u64,
    ) -> rusqlite::Result<()> {
        let mut settle = self.database.prepare_cached(sql::SETTLE)?;
        settle.execute(params![message.number, down_state_to_column(state), to_column(at)])?;
        self.now.waiting = self.now.waiting.saturating_sub(1);
        self.now.bytes = self.now.bytes.saturating_sub(message.bytes);
        self.now.settled += 1;
        Ok(())
    }

    /// Gives up a message that was not handed out. Its number stays in the stream.
    pub(super) fn give_up(
        &mut self,
        message: &Waiting,
        state: DownState,
        at: u64,
    ) -> rusqlite::Result<()> {
        let reason = match state {
            DownState::Dropped(DropReason::Replaced) => SkipReason::Replaced,
            DownState::Dropped(_) => SkipReason::Cancelled,
            _ => SkipReason::Expired,
        };
        let (database, device) = (self.database, self.device);
        if let Some(stream) = self.stream_mut(message.lane) {
            stream.void(database, device, message.sequence, reason)?;
        }
        self.settle(message, state, at)
    }

    /// Stores the counters and the streams, and removes what exceeds the bounds.
    pub(super) fn save(mut self) -> rusqlite::Result<()> {
        let excess = self.now.settled.saturating_sub(DownStatus::MAX_SETTLED);
        if excess > 0 {
            let mut remove = self.database.prepare_cached(sql::REMOVE_OLDEST_SETTLED)?;
            let removed = remove.execute(params![self.device, to_column(excess)])?;
            self.now.settled = self.now.settled.saturating_sub(removed as u64);
        }
        while self.now.keys > IdempotencyKey::MAX_PER_DEVICE {
            let mut oldest = self.database.prepare_cached(sql::OLDEST_KEY)?;
            let key: Vec<u8> = oldest.query_row([self.device], |row| row.get(0))?;
            self.remove_key(&key)?;
        }
        let (streams, before) = &self.before;
        for stream in self.streams.iter().filter(|stream| !streams.contains(stream)) {
            stream.save(self.database, self.device)?;
        }
        if self.now == *before {
            return Ok(());
        }
        let grown = to_column(self.now.bytes).saturating_sub(to_column(before.bytes));
        if grown != 0 {
            self.database.prepare_cached(sql::GROW)?.execute([grown])?;
        }
        if self.now == Counters::default() {
            let mut remove = self.database.prepare_cached(sql::REMOVE_COUNTERS)?;
            return remove.execute([self.device]).map(drop);
        }
        let Counters { waiting, bytes, settled, keys } = self.now;
        let mut save = self.database.prepare_cached(sql::SAVE_COUNTERS)?;
        save.execute(params![
            self.device,
            to_column(waiting),
            to_column(bytes),
            to_column(settled),
            to_column(keys)
        ])
        .map(drop)
    }

    pub(super) fn remove_key(&mut self, key: &[u8]) -> rusqlite::Result<()> {
        let mut remove = self.database.prepare_cached(sql::REMOVE_KEY)?;
        remove.execute(params![self.device, key])?;
        self.now.keys = self.now.keys.saturating_sub(1);
        Ok(())
    }
}

/// Reads a state; a message that waits is [`DownState::Queued`].
pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<DownState> {
    let number: i64 = row.get(column)?;
    down_state_from_column(number)
        .ok_or_else(|| damaged(column, format!("{number} is not a state")))
}
