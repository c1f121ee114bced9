//! The ways out of a queue: acknowledged, cancelled, expired, or with the device.

use std::collections::{BTreeMap, BTreeSet};

use fedecks_protocol::{DeviceId, Lane, StreamId, Tag};
use rusqlite::{Connection, OptionalExtension, params};

use super::queue::{Queue, Waiting, state};
use super::sql;
use super::streams::Stream;
use crate::device_queue::{
    Acknowledged, Acknowledgement, Cancelled, DownState, DownStatus, DropReason, ExpiredMessages,
};
use crate::sqlite::columns::{damaged, tag_to_column, to_column};

/// How many rows of a kind a step deletes or expires.
const STEP_ROWS: usize = 250;

pub(super) fn acknowledge(
    database: &Connection,
    device: &str,
    acknowledgement: &Acknowledgement,
    now: u64,
) -> rusqlite::Result<Acknowledged> {
    let Acknowledgement { stream: id, up_to, tag, ref rejected, resumed } = *acknowledgement;
    let mut queue = Queue::open(database, device)?;
    let Some(lane) = queue.lane_of(id) else { return Ok(Acknowledged::UnknownStream) };
    let Some(before) = queue.stream(lane).cloned() else { return Ok(Acknowledged::UnknownStream) };
    if !before.agrees(database, device, (up_to, tag), !resumed)? {
        return Ok(Acknowledged::Diverged);
    }
    let rejected: BTreeSet<u64> = rejected.iter().copied().collect();
    let mut settled = Vec::new();
    if up_to > before.acknowledged {
        for message in queue.waiting(lane, before.acknowledged, up_to)? {
            let is_rejected = rejected.contains(&message.sequence);
            let state = if is_rejected { DownState::Rejected } else { DownState::Delivered };
            queue.settle(&message, state, now)?;
            settled.push((message.tag, state));
        }
    }
    if let Some(stream) = queue.stream_mut(lane) {
        if up_to > before.acknowledged {
            stream.advance(database, device, up_to, tag)?;
        }
        if resumed {
            stream.take_back(database, device)?;
        }
    }
    queue.save()?;
    Ok(Acknowledged::Settled(settled))
}

/// Numbers what waits again in a new stream.
pub(super) fn renumber(
    database: &Connection,
    device: &str,
    lane: Lane,
) -> rusqlite::Result<StreamId> {
    let mut queue = Queue::open(database, device)?;
    let mut stream = Stream::new(lane);
    if let Some(before) = queue.stream(lane).cloned() {
        let mut renumber = database.prepare_cached(sql::RENUMBER)?;
        // In ascending order each number is free before it is used.
        for message in queue.waiting(lane, before.acknowledged, before.newest)? {
            stream.newest += 1;
            renumber.execute(params![message.number, to_column(stream.newest)])?;
        }
        let mut remove = database.prepare_cached(sql::REMOVE_VOIDS_TO)?;
        remove.execute(params![device, before.lane_column(), i64::MAX])?;
    }
    let id = stream.id;
    queue.streams.retain(|stream| stream.lane != lane);
    queue.streams.push(stream);
    queue.save()?;
    Ok(id)
}

pub(super) fn cancel(
    database: &Connection,
    device: &str,
    id: Tag,
    now: u64,
) -> rusqlite::Result<Cancelled> {
    let mut queue = Queue::open(database, device)?;
    let mut by_tag = database.prepare_cached(sql::BY_TAG)?;
    let found = by_tag
        .query_row(params![device, tag_to_column(id)], |row| {
            let state = state(row, 5)?;
            let waiting = (state == DownState::Queued).then(|| Waiting::from_row(row));
            Ok((waiting.transpose()?, state))
        })
        .optional()?;
    Ok(match found {
        None => Cancelled::Unknown,
        Some((Some(message), _)) if queue.is_sent(message.lane, message.sequence) => {
            Cancelled::AlreadySent
        }
        Some((Some(message), _)) => {
            queue.give_up(&message, DownState::Dropped(DropReason::Cancelled), now)?;
            queue.save()?;
            Cancelled::Dropped
        }
        Some((None, state)) => Cancelled::Settled(state),
    })
}

/// Drops what waits for a device whose id may get another holder, and ends its streams.
pub(in crate::sqlite) fn forget_device(
    tx: &Connection,
    device: &DeviceId,
    now: u64,
) -> rusqlite::Result<()> {
    let device = device.as_str();
    let mut queue = Queue::open(tx, device)?;
    for stream in std::mem::take(&mut queue.streams) {
        for message in queue.waiting(stream.lane, stream.acknowledged, stream.newest)? {
            queue.settle(&message, DownState::Dropped(DropReason::ReRegistered), now)?;
        }
    }
    tx.prepare_cached(sql::REMOVE_ALL_VOIDS)?.execute([device])?;
    tx.prepare_cached(sql::REMOVE_STREAMS)?.execute([device])?;
    queue.save()
}

/// Whether [`expire`] has something to do.
pub(super) fn is_due(database: &Connection, now: u64) -> rusqlite::Result<bool> {
    let old = to_column(now.saturating_sub(DownStatus::MAX_AGE));
    Ok(database.prepare_cached(sql::DUE)?.exists(params![to_column(now), 1])?
        || database.prepare_cached(sql::OLD_SETTLED)?.exists(params![old, 1])?
        || database.prepare_cached(sql::OLD_KEYS)?.exists(params![old, 1])?)
}

/// Does a part of what is due.
pub(super) fn expire(database: &Connection, now: u64) -> rusqlite::Result<ExpiredMessages> {
    let mut due: BTreeMap<String, Due> = BTreeMap::new();
    let (limit, old) = (STEP_ROWS as i64, to_column(now.saturating_sub(DownStatus::MAX_AGE)));
    let mut rows = [0; 3];
    let mut select = database.prepare_cached(sql::DUE)?;
    let mut found = select.query(params![to_column(now), limit])?;
    while let Some(row) = found.next()? {
        due.entry(row.get(5)?).or_default().messages.push(Waiting::from_row(row)?);
        rows[0] += 1;
    }
    let mut select = database.prepare_cached(sql::OLD_SETTLED)?;
    let mut found = select.query(params![old, limit])?;
    while let Some(row) = found.next()? {
        due.entry(row.get(1)?).or_default().settled.push(row.get(0)?);
        rows[1] += 1;
    }
    let mut select = database.prepare_cached(sql::OLD_KEYS)?;
    let mut found = select.query(params![old, limit])?;
    while let Some(row) = found.next()? {
        due.entry(row.get(0)?).or_default().keys.push(row.get(1)?);
        rows[2] += 1;
    }
    let mut expired = ExpiredMessages { messages: Vec::new(), more: rows.contains(&STEP_ROWS) };
    for (device, due) in due {
        let id = DeviceId::new(device.clone()).map_err(|error| damaged(0, error))?;
        let tags = due.apply(Queue::open(database, &device)?, now)?;
        expired.messages.extend(tags.into_iter().map(|tag| (id.clone(), tag)));
    }
    Ok(expired)
}

/// What is due in the queue of a device.
#[derive(Default)]
struct Due {
    messages: Vec<Waiting>,
    settled: Vec<i64>,
    keys: Vec<Vec<u8>>,
}

impl Due {
    /// Returns which messages have expired. Those that were handed out are not found again before it is known whether
    /// they arrived.
    fn apply(self, mut queue: Queue<'_>, now: u64) -> rusqlite::Result<Vec<Tag>> {
        let mut expired = Vec::new();
        let mut hold = queue.database.prepare_cached(sql::HOLD)?;
        for message in self.messages {
            if queue.is_sent(message.lane, message.sequence) {
                hold.execute([message.number])?;
            } else {
                queue.give_up(&message, DownState::Expired, now)?;
                expired.push(message.tag);
            }
        }
        let mut remove = queue.database.prepare_cached(sql::REMOVE)?;
        for number in self.settled {
            remove.execute([number])?;
            queue.now.settled = queue.now.settled.saturating_sub(1);
        }
        for key in &self.keys {
            queue.remove_key(key)?;
        }
        queue.save()?;
        Ok(expired)
    }
}
