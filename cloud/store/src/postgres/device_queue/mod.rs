//! Messages for devices in PostgreSQL: the calls, and the queries of operators.

mod expiry;
mod queue;
mod queueing;
mod settling;
mod sql;
#[cfg(test)]
mod tests;
mod voids;
mod window;

use fedecks_protocol::{DeviceId, Lane as DeviceLane, StreamId, Tag};
use tokio_postgres::Row;

use self::queue::state;
#[allow(unused_imports, reason = "the traits follow one by one")]
pub(super) use self::settling::forget_device;
use super::call::Values;
use super::columns::{lane, optional_unsigned, tag, tag_to_column, to_column, unsigned};
use super::failure::Result;
use super::lanes::Lane;
use super::seen_notes::write_seen;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::device_queue::{
    Acknowledged, Acknowledgement, Cancelled, DeviceQueueStore, DownRecord, DownRoom, DownState,
    DownStatus, DownWindow, ExpiredMessages, IdempotencyKey, NewDown, Queued,
};
use crate::down_size::{DownLimits, DownSize};

impl DeviceQueueStore for PostgresStore {
    fn queue_message<'a>(
        &'a self,
        device: &'a DeviceId,
        message: NewDown,
        key: Option<IdempotencyKey>,
        limits: DownLimits,
    ) -> StoreFuture<'a, Queued> {
        let args = (self.shared.clone(), device.clone(), message, key, limits);
        self.write(Lane::Shared, args, |tx, (shared, device, message, key, limits)| {
            Box::pin(async move {
                // With what refers to the device. It stays pending in case that fails.
                let note = shared.notes.note_of(device).map(|note| (device.as_str(), note));
                write_seen(tx, note.into_iter().collect()).await?;
                queueing::queue_message(tx, device, message, key.as_ref(), *limits).await
            })
        })
    }

    fn window<'a>(
        &'a self,
        device: &'a DeviceId,
        lane: DeviceLane,
        after: u64,
        room: DownRoom,
        now: u64,
    ) -> StoreFuture<'a, Option<DownWindow>> {
        Box::pin(async move {
            let args = (device.clone(), lane, after, room);
            let peeked =
                self.read_snapshot(Lane::Shared, args, |tx, (device, lane, after, room)| {
                    Box::pin(window::peek(tx, device.as_str(), *lane, *after, *room))
                });
            if let Some(window) = peeked.await? {
                return Ok(window);
            }
            let args = (device.clone(), lane, after, room, now);
            let handed = self.write(Lane::Shared, args, |tx, (device, lane, after, room, now)| {
                Box::pin(window::hand_out(tx, device.as_str(), *lane, *after, *room, *now))
            });
            handed.await
        })
    }

    fn acknowledge<'a>(
        &'a self,
        device: &'a DeviceId,
        acknowledgement: Acknowledgement,
        now: u64,
    ) -> StoreFuture<'a, Acknowledged> {
        let args = (device.clone(), acknowledgement, now);
        self.write(Lane::Shared, args, |tx, (device, acknowledgement, now)| {
            Box::pin(settling::acknowledge(tx, device.as_str(), acknowledgement, *now))
        })
    }

    fn renumber<'a>(&'a self, device: &'a DeviceId, lane: DeviceLane) -> StoreFuture<'a, StreamId> {
        self.write(Lane::Shared, (device.clone(), lane), |tx, (device, lane)| {
            Box::pin(settling::renumber(tx, device.as_str(), *lane))
        })
    }

    fn message_status<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
    ) -> StoreFuture<'a, Option<DownStatus>> {
        self.read(Lane::Bulk, (device.clone(), id), |tx, (device, id)| {
            Box::pin(async move {
                let values: Values<'_> = &[&device.as_str(), &tag_to_column(*id)];
                let found = tx.query_opt(sql::BY_TAG, values).await?;
                found.map(|row| record(&row).map(|record| record.status)).transpose()
            })
        })
    }

    fn device_messages<'a>(
        &'a self,
        device: &'a DeviceId,
        before: Option<u64>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<DownRecord>> {
        let before = before.map_or(i64::MAX, to_column);
        let limit = i64::from(limit.min(DownRecord::MAX_PAGE));
        self.read(Lane::Bulk, (device.clone(), before, limit), |tx, (device, before, limit)| {
            Box::pin(async move {
                let rows = tx.query(sql::OF_DEVICE, &[&device.as_str(), before, limit]).await?;
                rows.iter().map(record).collect()
            })
        })
    }

    fn cancel_message<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
        now: u64,
    ) -> StoreFuture<'a, Cancelled> {
        self.write(Lane::Shared, (device.clone(), id, now), |tx, (device, id, now)| {
            Box::pin(settling::cancel(tx, device.as_str(), *id, *now))
        })
    }

    fn expire_messages(&self, now: u64) -> StoreFuture<'_, ExpiredMessages> {
        Box::pin(async move {
            let is_due = self.read(Lane::Bulk, now, |tx, now| Box::pin(expiry::is_due(tx, *now)));
            if !is_due.await? {
                return Ok(ExpiredMessages::default());
            }
            self.write(Lane::Bulk, now, |tx, now| Box::pin(expiry::expire(tx, *now))).await
        })
    }

    fn waiting(&self) -> StoreFuture<'_, DownSize> {
        self.read(Lane::Bulk, (), |tx, ()| {
            Box::pin(async move {
                let row = tx.query_one(sql::WAITING_OF_ALL, &[]).await?;
                Ok(DownSize { messages: unsigned(&row, 0)?, bytes: unsigned(&row, 1)? })
            })
        })
    }
}

/// Reads a row of [`sql::BY_TAG`] or [`sql::OF_DEVICE`].
fn record(row: &Row) -> Result<DownRecord> {
    let (sequence, tried) = (optional_unsigned(row, 3)?, optional_unsigned(row, 9)?);
    let state = match (state(row, 5)?, sequence) {
        (DownState::Queued, Some(sequence)) if tried.is_some_and(|tried| sequence <= tried) => {
            DownState::Sent
        }
        (state, _) => state,
    };
    let (queued_at, changed_at) = (unsigned(row, 6)?, unsigned(row, 7)?);
    let (lane, expires_at) = (lane(row, 2)?, unsigned(row, 8)?);
    Ok(DownRecord {
        number: unsigned(row, 0)?,
        id: tag(row, 1)?,
        status: DownStatus { state, lane, queued_at, changed_at, expires_at },
        bytes: unsigned(row, 4)?,
    })
}
