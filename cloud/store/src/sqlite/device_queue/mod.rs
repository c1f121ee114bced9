//! Messages for devices in SQLite: the calls, and the queries of operators.

#[cfg(test)]
mod model_tests;
mod queue;
mod queueing;
mod settling;
mod sql;
mod streams;
#[cfg(test)]
mod tests;
mod window;

use fedecks_protocol::{DeviceId, Lane, StreamId, Tag};
use rusqlite::{OptionalExtension, Row, params};

use self::queue::{Queue, state};
pub(super) use self::settling::forget_device;
use super::columns::{from_column, lane, tag, tag_to_column, to_column, unsigned};
use super::store::SqliteStore;
use super::write_behind::write_note_of;
use crate::boxed::StoreFuture;
use crate::device_queue::{
    Acknowledged, Acknowledgement, Cancelled, DeviceQueueStore, DownRecord, DownRoom, DownState,
    DownStatus, DownWindow, ExpiredMessages, IdempotencyKey, NewDown, Queued,
};
use crate::down_size::{DownLimits, DownSize};

impl DeviceQueueStore for SqliteStore {
    fn queue_message<'a>(
        &'a self,
        device: &'a DeviceId,
        message: NewDown,
        key: Option<IdempotencyKey>,
        limits: DownLimits,
    ) -> StoreFuture<'a, Queued> {
        let (device, write_behind) = (device.clone(), self.write_behind.clone());
        self.write_shared(move |tx| {
            write_note_of(&write_behind, tx, &device)?;
            queueing::queue_message(tx, &device, &message, key.as_ref(), limits)
        })
    }

    fn window<'a>(
        &'a self,
        device: &'a DeviceId,
        lane: Lane,
        after: u64,
        room: DownRoom,
        now: u64,
    ) -> StoreFuture<'a, Option<DownWindow>> {
        Box::pin(async move {
            let id = device.clone();
            let peeked = self
                .read_shared(move |database| window::peek(database, id.as_str(), lane, after, room))
                .await?;
            if let Some(window) = peeked {
                return Ok(window);
            }
            let id = device.clone();
            self.write_shared(move |tx| window::hand_out(tx, id.as_str(), lane, after, room, now))
                .await
        })
    }

    fn acknowledge<'a>(
        &'a self,
        device: &'a DeviceId,
        acknowledgement: Acknowledgement,
        now: u64,
    ) -> StoreFuture<'a, Acknowledged> {
        let device = device.clone();
        self.write_shared(move |tx| {
            settling::acknowledge(tx, device.as_str(), &acknowledgement, now)
        })
    }

    fn renumber<'a>(&'a self, device: &'a DeviceId, lane: Lane) -> StoreFuture<'a, StreamId> {
        let device = device.clone();
        self.write_shared(move |tx| settling::renumber(tx, device.as_str(), lane))
    }

    fn message_status<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
    ) -> StoreFuture<'a, Option<DownStatus>> {
        let device = device.clone();
        self.read_bulk(move |database| {
            let queue = Queue::open(database, device.as_str())?;
            let mut by_tag = database.prepare_cached(sql::BY_TAG)?;
            let found = by_tag.query_row(params![queue.device, tag_to_column(id)], |row| {
                record(&queue, row).map(|record| record.status)
            });
            found.optional()
        })
    }

    fn device_messages<'a>(
        &'a self,
        device: &'a DeviceId,
        before: Option<u64>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<DownRecord>> {
        let (device, before) = (device.clone(), before.map_or(i64::MAX, to_column));
        let limit = limit.min(DownRecord::MAX_PAGE);
        self.read_bulk(move |database| {
            let queue = Queue::open(database, device.as_str())?;
            let mut messages = database.prepare_cached(sql::OF_DEVICE)?;
            messages
                .query_map(params![queue.device, before, limit], |row| record(&queue, row))?
                .collect()
        })
    }

    fn cancel_message<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
        now: u64,
    ) -> StoreFuture<'a, Cancelled> {
        let device = device.clone();
        self.write_shared(move |tx| settling::cancel(tx, device.as_str(), id, now))
    }

    fn expire_messages(&self, now: u64) -> StoreFuture<'_, ExpiredMessages> {
        Box::pin(async move {
            if !self.read_bulk(move |database| settling::is_due(database, now)).await? {
                return Ok(ExpiredMessages::default());
            }
            self.write_bulk(move |tx| settling::expire(tx, now)).await
        })
    }

    fn waiting(&self) -> StoreFuture<'_, DownSize> {
        self.read_bulk(|database| {
            let bytes =
                database.prepare_cached(sql::SIZE)?.query_row([], |row| unsigned(row, 0))?;
            let mut messages = database.prepare_cached(sql::WAITING_OF_ALL)?;
            Ok(DownSize { messages: messages.query_row([], |row| unsigned(row, 0))?, bytes })
        })
    }
}

/// Reads a row of [`sql::BY_TAG`] or [`sql::OF_DEVICE`].
fn record(queue: &Queue<'_>, row: &Row<'_>) -> rusqlite::Result<DownRecord> {
    let lane = lane(row, 2)?;
    let state = match (state(row, 5)?, row.get::<_, Option<i64>>(3)?) {
        (DownState::Queued, Some(sequence)) if queue.is_sent(lane, from_column(sequence)) => {
            DownState::Sent
        }
        (state, _) => state,
    };
    let (queued_at, changed_at) = (unsigned(row, 6)?, unsigned(row, 7)?);
    let expires_at = unsigned(row, 8)?;
    Ok(DownRecord {
        number: unsigned(row, 0)?,
        id: tag(row, 1)?,
        status: DownStatus { state, lane, queued_at, changed_at, expires_at },
        bytes: unsigned(row, 4)?,
    })
}
