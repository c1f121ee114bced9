//! The ways out of the queue of a device: acknowledged, cancelled, or with the device.

use std::collections::BTreeSet;

use fedecks_protocol::{DeviceId, Lane, StreamId, Tag};

use super::queue::{Queue, Stream, Waiting, load_voids, save, state};
use super::sql;
use crate::device_queue::{Acknowledged, Acknowledgement, Cancelled, DownState, DropReason};
use crate::postgres::call::{Tx, Values};
use crate::postgres::columns::{tag, tag_to_column, to_column};
use crate::postgres::failure::Result;

pub(super) async fn acknowledge(
    tx: &Tx,
    device: &str,
    acknowledgement: &Acknowledgement,
    now: u64,
) -> Result<Acknowledged> {
    let Acknowledgement { stream: id, up_to, tag, ref rejected, resumed } = *acknowledgement;
    let Some(mut queue) = Queue::lock(tx, device).await? else {
        return Ok(Acknowledged::UnknownStream);
    };
    let Some(before) = queue.streams.iter().find(|stream| stream.id == id).cloned() else {
        return Ok(Acknowledged::UnknownStream);
    };
    if !agrees(tx, device, &before, (up_to, tag), !resumed).await? {
        return Ok(Acknowledged::Diverged);
    }
    let rejected: BTreeSet<u64> = rejected.iter().copied().collect();
    let mut settled = Vec::new();
    let mut stream = before.clone();
    if up_to > before.acknowledged {
        for message in queue.waiting(tx, before.lane, before.acknowledged, up_to).await? {
            let is_rejected = rejected.contains(&message.sequence);
            let state = if is_rejected { DownState::Rejected } else { DownState::Delivered };
            queue.settle(&message, state, now);
            settled.push((message.tag, state));
        }
        let values: Values<'_> = &[&device, &to_column(before.lane.number()), &to_column(up_to)];
        tx.execute(sql::REMOVE_VOIDS_TO, values).await?;
        stream = Stream { acknowledged: up_to, tag, tried: before.tried.max(up_to), ..stream };
    }
    if resumed {
        // What follows did not arrive, or was forgotten.
        let [lane, from, to] =
            [stream.lane.number(), stream.acknowledged, stream.tried].map(to_column);
        if to > from {
            tx.execute(sql::TAKE_BACK, &[&device, &lane, &from, &to]).await?;
        }
        stream.tried = stream.acknowledged;
    }
    if let Some(changed) = queue.stream_mut(before.lane) {
        *changed = stream;
    }
    save(tx, vec![queue]).await?;
    Ok(Acknowledged::Settled(settled))
}

/// Whether the device can be done with this number, which has this tag, as far as is known here. If the tag is
/// `optional` it may be 0 as well. Otherwise that is taken for what an older copy of the store numbered.
async fn agrees(
    tx: &Tx,
    device: &str,
    stream: &Stream,
    (up_to, its_tag): (u64, Tag),
    optional: bool,
) -> Result<bool> {
    let no_tag = Tag(0);
    if up_to > stream.newest {
        return Ok(false);
    }
    if up_to < stream.acknowledged || (optional && its_tag == no_tag) {
        return Ok(true);
    }
    if up_to == stream.acknowledged {
        return Ok([its_tag, stream.tag].contains(&no_tag) || stream.tag == its_tag);
    }
    let values: Values<'_> = &[&device, &to_column(stream.lane.number()), &to_column(up_to)];
    let known = tx.query_opt(sql::TAG_AT, values).await?;
    Ok(known.map_or(Ok(no_tag), |row| tag(&row, 0))? == its_tag)
}

/// Numbers what waits again in a new stream.
pub(super) async fn renumber(tx: &Tx, device: &str, lane: Lane) -> Result<StreamId> {
    let mut queue = Queue::open(tx, device).await?;
    let mut stream = Stream::new(lane);
    if queue.stream(lane).is_some() {
        let number = to_column(lane.number());
        stream.newest = tx.execute(sql::RENUMBER, &[&device, &number]).await?;
        tx.execute(sql::RENUMBERED, &[&device, &number]).await?;
        tx.execute(sql::REMOVE_VOIDS_TO, &[&device, &number, &i64::MAX]).await?;
    }
    let id = stream.id;
    queue.streams.retain(|stream| stream.lane != lane);
    queue.streams.push(stream);
    save(tx, vec![queue]).await?;
    Ok(id)
}

pub(super) async fn cancel(tx: &Tx, device: &str, id: Tag, now: u64) -> Result<Cancelled> {
    let Some(mut queue) = Queue::lock(tx, device).await? else { return Ok(Cancelled::Unknown) };
    let found = tx.query_opt(sql::BY_TAG, &[&device, &tag_to_column(id)]).await?;
    let Some(row) = found else { return Ok(Cancelled::Unknown) };
    let state = state(&row, 5)?;
    if state != DownState::Queued {
        return Ok(Cancelled::Settled(state));
    }
    let message = Waiting::from_row(&row)?;
    if queue.is_sent(message.lane, message.sequence) {
        return Ok(Cancelled::AlreadySent);
    }
    load_voids(tx, std::slice::from_mut(&mut queue)).await?;
    queue.give_up(&message, DownState::Dropped(DropReason::Cancelled), now);
    save(tx, vec![queue]).await?;
    Ok(Cancelled::Dropped)
}

/// Drops what waits for a device whose id may get another holder, and ends its streams.
pub(in crate::postgres) async fn forget_device(tx: &Tx, device: &DeviceId, now: u64) -> Result<()> {
    let device = device.as_str();
    let Some(mut queue) = Queue::lock(tx, device).await? else { return Ok(()) };
    for stream in std::mem::take(&mut queue.streams) {
        let Stream { lane, acknowledged, newest, .. } = stream;
        for message in queue.waiting(tx, lane, acknowledged, newest).await? {
            queue.settle(&message, DownState::Dropped(DropReason::ReRegistered), now);
        }
    }
    tx.execute(sql::REMOVE_ALL_VOIDS, &[&device]).await?;
    tx.execute(sql::REMOVE_STREAMS, &[&device]).await?;
    save(tx, vec![queue]).await
}
