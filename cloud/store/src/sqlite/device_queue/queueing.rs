//! Queueing: idempotency keys, the limits, and messages that replace others.

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, OptionalExtension, params};

use super::queue::{Queue, Waiting};
use super::sql;
use super::streams::Stream;
use crate::device_queue::{DownState, DownStatus, DropReason, IdempotencyKey, NewDown, Queued};
use crate::down_size::DownLimits;
use crate::sqlite::columns::{tag, tag_to_column, to_column, unsigned};

pub(super) fn queue_message(
    database: &Connection,
    device: &DeviceId,
    message: &NewDown,
    key: Option<&IdempotencyKey>,
    limits: DownLimits,
) -> rusqlite::Result<Queued> {
    let mut queue = Queue::open(database, device.as_str())?;
    let key = key.map(|key| (key.fingerprint(), key.digest));
    if let Some((key, digest)) = &key {
        if let Some(known) = known(&mut queue, key, digest, message.at)? {
            return Ok(known);
        }
    }
    let mut by_tag = database.prepare_cached(sql::BY_TAG)?;
    if by_tag.exists(params![queue.device, tag_to_column(message.id)])? {
        return Ok(Queued::Repeated(message.id));
    }
    let replaced = replaceable(&queue, message)?;
    let bytes = message.stored_bytes(device);
    let freed: u64 = replaced.iter().map(|old| old.bytes).sum();
    let messages = (queue.now.waiting + 1).saturating_sub(replaced.len() as u64);
    let of_device = (queue.now.bytes + bytes).saturating_sub(freed);
    if messages > limits.messages || of_device > limits.bytes {
        return Ok(Queued::QueueFull);
    }
    let size = database.prepare_cached(sql::SIZE)?.query_row([], |row| unsigned(row, 0))?;
    if (size + bytes).saturating_sub(freed) > limits.total_bytes {
        return Ok(Queued::StoreFull);
    }
    for old in &replaced {
        queue.give_up(old, DownState::Dropped(DropReason::Replaced), message.at)?;
    }
    append(&mut queue, message, bytes)?;
    if let Some((key, digest)) = key {
        let mut add = database.prepare_cached(sql::ADD_KEY)?;
        let tag = tag_to_column(message.id);
        add.execute(params![queue.device, key, digest, tag, to_column(message.at)])?;
        queue.now.keys += 1;
    }
    queue.save()?;
    Ok(Queued::Accepted { replaced: replaced.iter().map(|old| old.tag).collect() })
}

fn append(queue: &mut Queue<'_>, message: &NewDown, bytes: u64) -> rusqlite::Result<()> {
    let (database, device) = (queue.database, queue.device);
    if queue.stream(message.lane).is_none() {
        queue.streams.push(Stream::new(message.lane));
    }
    let Some(stream) = queue.stream_mut(message.lane) else { return Ok(()) };
    stream.newest += 1;
    let mut add = database.prepare_cached(sql::ADD)?;
    add.execute(params![
        device,
        tag_to_column(message.id),
        stream.lane_column(),
        to_column(stream.newest),
        to_column(message.at),
        to_column(message.expires_at),
        message.collapse_key,
        message.raw,
        to_column(bytes),
        &message.body[..]
    ])?;
    queue.now.waiting += 1;
    queue.now.bytes += bytes;
    Ok(())
}

/// The answer to a request with a key that is known. Forgets a key that is too old.
fn known(
    queue: &mut Queue<'_>,
    key: &[u8],
    digest: &[u8; 32],
    now: u64,
) -> rusqlite::Result<Option<Queued>> {
    let mut find = queue.database.prepare_cached(sql::KEY)?;
    let found = find
        .query_row(params![queue.device, key], |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, tag(row, 1)?, unsigned(row, 2)?))
        })
        .optional()?;
    let Some((its_digest, id, at)) = found else { return Ok(None) };
    if now.saturating_sub(at) >= DownStatus::MAX_AGE {
        queue.remove_key(key)?;
        return Ok(None);
    }
    Ok(Some(if its_digest == *digest { Queued::Repeated(id) } else { Queued::KeyConflict }))
}

/// The messages that are replaced: those that cannot have arrived.
fn replaceable(queue: &Queue<'_>, message: &NewDown) -> rusqlite::Result<Vec<Waiting>> {
    let Some(key) = &message.collapse_key else { return Ok(Vec::new()) };
    let mut by_key = queue.database.prepare_cached(sql::BY_KEY)?;
    let mut found: Vec<Waiting> = by_key
        .query_map(params![queue.device, key], Waiting::from_row)?
        .collect::<Result<_, _>>()?;
    found.retain(|old| !queue.is_sent(old.lane, old.sequence));
    Ok(found)
}
