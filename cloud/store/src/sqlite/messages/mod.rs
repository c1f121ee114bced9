//! Kept messages of devices in SQLite.

mod sql;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use fedecks_protocol::{DeviceId, InstallationId, StreamId};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::columns::{damaged, lane, optional_unsigned, tag, tag_to_column, to_column, unsigned};
use super::queue::enqueue_in;
use super::store::SqliteStore;
use crate::boxed::StoreFuture;
use crate::messages::{
    Fence, LogQuery, LogStatus, LoggedContent, LoggedMessage, MessageStore, NewLogged, OpenStreams,
    Step, StreamPosition,
};

/// How many rows of the log a step reads or deletes.
const STEP_ROWS: u32 = 500;

/// A step ends after about this many bytes.
const STEP_BYTES: u64 = 8 * 1024 * 1024;

/// The room of a row in the log without its texts.
const ROW: u64 = 120;

impl MessageStore for SqliteStore {
    fn installation(&self) -> StoreFuture<'_, InstallationId> {
        self.read(|database| {
            database
                .query_row("SELECT id FROM installation", [], |row| row.get(0).map(InstallationId))
        })
    }

    fn open_streams<'a>(&'a self, device: &'a DeviceId) -> StoreFuture<'a, OpenStreams> {
        let device = device.clone();
        // A power cut ends the connections, too.
        self.write_bulk_unsynced(move |tx| {
            let mut open = tx.prepare_cached(sql::OPEN)?;
            // Random, so that no connection from before a restore fits.
            let fence = rand::random();
            open.execute(params![device.as_str(), fence])?;
            let mut positions = tx.prepare_cached(sql::POSITIONS)?;
            let positions = positions.query_map([device.as_str()], position)?;
            Ok(OpenStreams { fence: Fence(fence), positions: positions.collect::<Result<_, _>>()? })
        })
    }

    fn accept<'a>(
        &'a self,
        device: &'a DeviceId,
        fence: Fence,
        steps: Vec<Step>,
    ) -> StoreFuture<'a, usize> {
        let device = device.clone();
        self.write_shared(move |tx| {
            let mut latest = tx.prepare_cached(sql::FENCE)?;
            let latest = latest.query_row([device.as_str()], |row| row.get(0)).optional()?;
            if latest != Some(fence.0) {
                return Ok(0);
            }
            let mut taken = 0;
            for step in &steps {
                if !accept(tx, &device, step)? {
                    break;
                }
                taken += 1;
            }
            Ok(taken)
        })
    }

    fn forget_stream<'a>(&'a self, device: &'a DeviceId, stream: StreamId) -> StoreFuture<'a, ()> {
        let device = device.clone();
        self.write_bulk_unsynced(move |tx| {
            let mut forget = tx.prepare_cached(sql::FORGET_STREAM)?;
            forget.execute(params![device.as_str(), stream.0]).map(drop)
        })
    }

    fn logged<'a>(&'a self, query: &'a LogQuery) -> StoreFuture<'a, Vec<LoggedMessage>> {
        Box::pin(async move {
            let (mut after, limit) = (query.after, query.limit as usize);
            loop {
                let devices = query.devices.clone();
                let step = self.read_bulk(move |database| {
                    let (mut found, mut last, mut bytes) = (Vec::new(), None, 0);
                    let mut logged = database.prepare_cached(sql::LOGGED)?;
                    let mut rows = logged.query(params![to_column(after), STEP_ROWS])?;
                    while let Some(row) = rows.next()? {
                        let (message, size) = message(row)?;
                        last = Some(message.number);
                        if devices.iter().all(|pattern| pattern.matches(&message.device)) {
                            bytes += size;
                            found.push(message);
                        }
                        if found.len() >= limit || bytes >= STEP_BYTES {
                            break;
                        }
                    }
                    Ok((found, last))
                });
                match step.await? {
                    (found, Some(last)) if found.is_empty() => after = last,
                    (found, _) => return Ok(found),
                }
            }
        })
    }

    fn log_status(&self) -> StoreFuture<'_, LogStatus> {
        self.read_bulk(|database| status(database))
    }

    fn trim_log(&self, before: u64, bytes: u64) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let mut trimmed = 0;
            loop {
                let step = self.write_bulk_unsynced(move |tx| trim(tx, before, bytes)).await?;
                trimmed += step;
                if step < u64::from(STEP_ROWS) {
                    return Ok(trimmed);
                }
            }
        })
    }
}

/// What the log has.
pub(super) fn status(database: &Connection) -> rusqlite::Result<LogStatus> {
    let last = database.prepare_cached(sql::LAST_LOGGED)?;
    let next = optional(last, |row| unsigned(row, 0))?.unwrap_or(0) + 1;
    let first = optional(database.prepare_cached(sql::FIRST_LOGGED)?, |row| unsigned(row, 0))?;
    let bytes = database.prepare_cached(sql::LOG_SIZE)?.query_row([], |row| unsigned(row, 0))?;
    Ok(LogStatus { first: first.unwrap_or(next), next, bytes })
}

/// Takes a step, unless its stream is elsewhere.
fn accept(tx: &Connection, device: &DeviceId, step: &Step) -> rusqlite::Result<bool> {
    let StreamPosition { stream, lane, up_to, tag } = step.to;
    let id = device.as_str();
    let mut known = tx.prepare_cached(sql::UP_TO)?;
    let known = known.query_row(params![id, stream.0], |row| unsigned(row, 0)).optional()?;
    if known.unwrap_or(0) != step.from {
        return Ok(false);
    }
    let (lane, tag) = (to_column(lane.number()), tag_to_column(tag));
    tx.prepare_cached(sql::SAVE_POSITION)?.execute(params![
        id,
        stream.0,
        lane,
        to_column(up_to),
        tag
    ])?;
    if known.is_none() {
        let mut of_lane = tx.prepare_cached(sql::STREAMS_OF_LANE)?;
        let (count, oldest): (usize, i64) =
            of_lane.query_row(params![id, lane], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if count > StreamPosition::MAX_PER_LANE {
            tx.prepare_cached(sql::FORGET_USED)?.execute(params![id, oldest])?;
        }
    }
    if let Some(NewLogged { redelivered, sent_at_ms, at, content }) = &step.effects.log {
        let (raw, body) = match content {
            LoggedContent::Json(body) => (false, body),
            LoggedContent::Raw(body) => (true, body),
        };
        let bytes = to_column(ROW + id.len() as u64 + body.len() as u64);
        tx.prepare_cached(sql::ADD_LOGGED)?.execute(params![
            id,
            lane,
            tag,
            redelivered,
            sent_at_ms.map(to_column),
            to_column(*at),
            raw,
            bytes,
            &body[..]
        ])?;
        tx.prepare_cached(sql::GROW_LOG)?.execute([bytes])?;
    }
    step.effects.enqueue.iter().try_for_each(|enqueue| enqueue_in(tx, enqueue))?;
    Ok(true)
}

/// Deletes up to [`STEP_ROWS`] messages of the log, or about [`STEP_BYTES`].
fn trim(tx: &Transaction<'_>, before: u64, bytes: u64) -> rusqlite::Result<u64> {
    let size = tx.prepare_cached(sql::LOG_SIZE)?.query_row([], |row| unsigned(row, 0))?;
    let newest = optional(tx.prepare_cached(sql::LAST_LOGGED)?, |row| unsigned(row, 0))?;
    let (mut removed, mut freed) = (0, 0);
    while removed < u64::from(STEP_ROWS) && freed < STEP_BYTES {
        let first = optional(tx.prepare_cached(sql::FIRST_LOGGED)?, |row| {
            Ok((unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?))
        })?;
        let Some((number, at, row)) = first else { break };
        let is_due = at < before || size.saturating_sub(freed) > bytes;
        if !is_due || Some(number) == newest {
            break;
        }
        tx.prepare_cached(sql::REMOVE_LOGGED)?.execute([to_column(number)])?;
        removed += 1;
        freed += row;
    }
    if freed > 0 {
        tx.prepare_cached(sql::GROW_LOG)?.execute([-to_column(freed)])?;
    }
    Ok(removed)
}

/// Forgets the streams of a device whose id may get another holder.
pub(super) fn forget_device(tx: &Connection, device: &DeviceId) -> rusqlite::Result<()> {
    tx.prepare_cached(sql::FORGET_FENCE)?.execute([device.as_str()])?;
    tx.prepare_cached(sql::FORGET_DEVICE)?.execute([device.as_str()]).map(drop)
}

fn optional<T>(
    mut statement: rusqlite::CachedStatement<'_>,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    statement.query_row([], read).optional()
}

fn position(row: &Row<'_>) -> rusqlite::Result<StreamPosition> {
    Ok(StreamPosition {
        stream: StreamId(row.get(0)?),
        lane: lane(row, 1)?,
        up_to: unsigned(row, 2)?,
        tag: tag(row, 3)?,
    })
}

/// A message of the log, and its size.
fn message(row: &Row<'_>) -> rusqlite::Result<(LoggedMessage, u64)> {
    let device = DeviceId::new(row.get::<_, String>(1)?).map_err(|error| damaged(1, error))?;
    let body = Bytes::from(row.get::<_, Vec<u8>>(9)?);
    let is_raw: bool = row.get(7)?;
    let content = if is_raw { LoggedContent::Raw(body) } else { LoggedContent::Json(body) };
    let message = NewLogged {
        redelivered: row.get(4)?,
        sent_at_ms: optional_unsigned(row, 5)?,
        at: unsigned(row, 6)?,
        content,
    };
    let (number, lane, id) = (unsigned(row, 0)?, lane(row, 2)?, tag(row, 3)?);
    Ok((LoggedMessage { number, device, lane, id, message }, unsigned(row, 8)?))
}
