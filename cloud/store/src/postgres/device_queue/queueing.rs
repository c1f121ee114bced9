//! Queueing: idempotency keys, the limits, and messages that replace others.

use fedecks_protocol::DeviceId;

use super::queue::{Queue, Stream, Waiting, load_voids, save};
use super::sql;
use crate::device_queue::{DownState, DownStatus, DropReason, IdempotencyKey, NewDown, Queued};
use crate::down_size::DownLimits;
use crate::postgres::call::{Tx, Values};
use crate::postgres::columns::{get, tag, tag_to_column, to_column, unsigned};
use crate::postgres::failure::Result;

pub(super) async fn queue_message(
    tx: &Tx,
    device: &DeviceId,
    message: &NewDown,
    key: Option<&IdempotencyKey>,
    limits: DownLimits,
) -> Result<Queued> {
    let mut queue = Queue::open(tx, device.as_str()).await?;
    let queued = add(tx, &mut queue, device, message, key, limits).await?;
    save(tx, vec![queue]).await?;
    Ok(queued)
}

async fn add(
    tx: &Tx,
    queue: &mut Queue,
    device: &DeviceId,
    message: &NewDown,
    key: Option<&IdempotencyKey>,
    limits: DownLimits,
) -> Result<Queued> {
    let key = key.map(|key| (key.fingerprint(), &key.digest[..]));
    if let Some((key, digest)) = &key {
        if let Some(known) = known(tx, queue, key, digest, message.at).await? {
            return Ok(known);
        }
    }
    let by_tag: Values<'_> = &[&queue.device, &tag_to_column(message.id)];
    if tx.query_opt(sql::BY_TAG, by_tag).await?.is_some() {
        return Ok(Queued::Repeated(message.id));
    }
    let replaced = replaceable(tx, queue, message).await?;
    let bytes = message.stored_bytes(device);
    let freed: u64 = replaced.iter().map(|old| old.bytes).sum();
    let messages = (queue.now.waiting + 1).saturating_sub(replaced.len() as u64);
    let of_device = (queue.now.bytes + bytes).saturating_sub(freed);
    if messages > limits.messages || of_device > limits.bytes {
        return Ok(Queued::QueueFull);
    }
    let grown = to_column(bytes).saturating_sub(to_column(freed));
    let limit = Some(to_column(limits.total_bytes));
    // The sum is locked from here on: nothing after this waits for another one.
    if tx.execute(sql::GROW, &[&grown, &limit]).await? == 0 {
        return Ok(Queued::StoreFull);
    }
    queue.counted = grown;
    if !replaced.is_empty() {
        load_voids(tx, std::slice::from_mut(queue)).await?;
    }
    for old in &replaced {
        queue.give_up(old, DownState::Dropped(DropReason::Replaced), message.at);
    }
    append(tx, queue, message, bytes).await?;
    if let Some((key, digest)) = key {
        let (tag, at) = (tag_to_column(message.id), to_column(message.at));
        tx.execute(sql::ADD_KEY, &[&queue.device, &&key[..], &digest, &tag, &at]).await?;
        queue.now.keys += 1;
    }
    Ok(Queued::Accepted { replaced: replaced.iter().map(|old| old.tag).collect() })
}

async fn append(tx: &Tx, queue: &mut Queue, message: &NewDown, bytes: u64) -> Result<()> {
    if queue.stream(message.lane).is_none() {
        queue.streams.push(Stream::new(message.lane));
    }
    let Some(stream) = queue.stream_mut(message.lane) else { return Ok(()) };
    stream.newest += 1;
    let sequence = to_column(stream.newest);
    let key = message.collapse_key.as_ref().map(|key| key.as_bytes());
    let values: Values<'_> = &[
        &queue.device,
        &tag_to_column(message.id),
        &to_column(message.lane.number()),
        &sequence,
        &to_column(message.at),
        &to_column(message.expires_at),
        &key,
        &message.raw,
        &to_column(bytes),
        &&message.body[..],
    ];
    tx.execute(sql::ADD, values).await?;
    queue.now.waiting += 1;
    queue.now.bytes += bytes;
    Ok(())
}

/// The answer to a request with a key that is known. Forgets a key that is too old.
async fn known(
    tx: &Tx,
    queue: &mut Queue,
    key: &[u8],
    digest: &[u8],
    now: u64,
) -> Result<Option<Queued>> {
    let Some(found) = tx.query_opt(sql::KEY, &[&queue.device, &key]).await? else {
        return Ok(None);
    };
    if now.saturating_sub(unsigned(&found, 2)?) >= DownStatus::MAX_AGE {
        tx.execute(sql::REMOVE_KEY, &[&queue.device, &key]).await?;
        queue.now.keys = queue.now.keys.saturating_sub(1);
        return Ok(None);
    }
    let is_same = get::<&[u8]>(&found, 0)? == digest;
    Ok(Some(if is_same { Queued::Repeated(tag(&found, 1)?) } else { Queued::KeyConflict }))
}

/// The messages that are replaced: those that cannot have arrived.
async fn replaceable(tx: &Tx, queue: &Queue, message: &NewDown) -> Result<Vec<Waiting>> {
    let Some(key) = &message.collapse_key else { return Ok(Vec::new()) };
    let rows = tx.query(sql::BY_KEY, &[&queue.device, &key.as_bytes()]).await?;
    let mut found = rows.iter().map(Waiting::from_row).collect::<Result<Vec<_>>>()?;
    found.retain(|old| !queue.is_sent(old.lane, old.sequence));
    Ok(found)
}
