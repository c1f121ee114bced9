//! Handing out: what follows a number in a stream, and the memory of what was handed out.

use std::collections::BTreeMap;

use bytes::Bytes;
use fedecks_protocol::{Lane, SkipReason};
use tokio_postgres::Row;

use super::queue::{Queue, Stream, Waiting, load_voids, save};
use super::sql;
use crate::device_queue::{DownEntry, DownMessage, DownRoom, DownState, DownWindow};
use crate::postgres::call::Tx;
use crate::postgres::columns::{get, to_column, unsigned};
use crate::postgres::failure::{Failure, Result};

/// The most numbers that a window passes, so that a call is short when many have no message.
const MAX_STEPS: usize = 500;

/// How many more messages than there is room for are looked at, as some may have expired.
const MORE: usize = 16;

/// What a number carries.
struct Head {
    waiting: Waiting,
    message: DownMessage,
    expires_at: u64,
    size: u64,
}

/// A part of the messages of a stream.
struct Heads {
    of_numbers: BTreeMap<u64, Head>,
    /// Up to this number all are known.
    up_to: u64,
}

/// The window if it hands out nothing for the first time. The outer `None` says that [`hand_out`] has to.
pub(super) async fn peek(
    tx: &Tx,
    device: &str,
    lane: Lane,
    after: u64,
    room: DownRoom,
) -> Result<Option<Option<DownWindow>>> {
    let mut queue = Queue::read(tx, device).await?;
    let Some(stream) = queue.stream(lane) else { return Ok(Some(None)) };
    let after = after.max(stream.acknowledged);
    if room.messages > 0 && after < stream.newest && stream.tried < stream.newest {
        return Ok(None);
    }
    // All of this was handed out, and does not expire.
    load_voids(tx, std::slice::from_mut(&mut queue)).await?;
    let stream = stream_of(&queue, lane)?;
    fill(tx, &mut queue, &stream, after, room, 0).await.map(|window| Some(Some(window)))
}

/// The window. Remembers how far it is, and voids what has expired.
pub(super) async fn hand_out(
    tx: &Tx,
    device: &str,
    lane: Lane,
    after: u64,
    room: DownRoom,
    now: u64,
) -> Result<Option<DownWindow>> {
    let Some(mut queue) = Queue::lock(tx, device).await? else { return Ok(None) };
    if queue.stream(lane).is_none() {
        return Ok(None);
    }
    load_voids(tx, std::slice::from_mut(&mut queue)).await?;
    let stream = stream_of(&queue, lane)?;
    let after = after.max(stream.acknowledged);
    let window = fill(tx, &mut queue, &stream, after, room, now).await?;
    let last = window.entries.last().map_or(after, |last| match last {
        DownEntry::Message(message) => message.sequence,
        DownEntry::Void { to, .. } => *to,
    });
    if let Some(stream) = queue.stream_mut(lane) {
        stream.tried = stream.tried.max(last.min(stream.newest));
    }
    save(tx, vec![queue]).await?;
    Ok(Some(window))
}

fn stream_of(queue: &Queue, lane: Lane) -> Result<Stream> {
    queue.stream(lane).cloned().ok_or_else(|| Failure::damaged("the stream is gone"))
}

async fn fill(
    tx: &Tx,
    queue: &mut Queue,
    stream: &Stream,
    after: u64,
    room: DownRoom,
    now: u64,
) -> Result<DownWindow> {
    let Stream { lane, id, newest, acknowledged, tried, .. } = *stream;
    let mut heads = heads(tx, queue, stream, after, room).await?;
    let (mut entries, mut expired) = (Vec::new(), Vec::new());
    let (mut next, mut numbers, mut bytes) = (after + 1, Vec::new(), 0);
    for _ in 0..MAX_STEPS {
        if next > heads.up_to || numbers.len() >= room.messages {
            break;
        }
        let Some(head) = heads.of_numbers.remove(&next) else {
            let void = queue.voids.from(lane, next).filter(|void| void.first <= next);
            // A hole in a damaged store must not stop the lane.
            let (to, reason) =
                void.map_or((next, SkipReason::Damaged), |void| (void.last, void.reason));
            push_void(&mut entries, next, to, reason);
            next = to + 1;
            continue;
        };
        if next > tried && head.expires_at <= now {
            queue.give_up(&head.waiting, DownState::Expired, now);
            expired.push(head.waiting.tag);
            push_void(&mut entries, next, next, SkipReason::Expired);
        } else {
            if !numbers.is_empty() && bytes + head.size > room.bytes {
                break;
            }
            bytes += head.size;
            numbers.push(head.waiting.number);
            let redelivered = head.message.redelivered || next <= tried;
            entries.push(DownEntry::Message(DownMessage { redelivered, ..head.message }));
        }
        next += 1;
    }
    add_bodies(tx, &mut entries, &numbers).await?;
    let (stream, oldest, more) = (id, acknowledged + 1, next <= newest);
    Ok(DownWindow { stream, oldest, newest, tried, entries, expired, more })
}

/// What follows a number, without contents.
async fn heads(
    tx: &Tx,
    queue: &Queue,
    stream: &Stream,
    after: u64,
    room: DownRoom,
) -> Result<Heads> {
    if room.messages == 0 {
        return Ok(Heads { of_numbers: BTreeMap::new(), up_to: 0 });
    }
    let limit = room.messages.saturating_add(MORE).min(MAX_STEPS);
    let [lane, after, rows] = [stream.lane.number(), after, limit as u64].map(to_column);
    let rows = tx.query(sql::HEADS, &[&queue.device, &lane, &after, &rows]).await?;
    let mut of_numbers = BTreeMap::new();
    for row in &rows {
        let head = head(row)?;
        of_numbers.insert(head.waiting.sequence, head);
    }
    let last = of_numbers.keys().next_back().copied();
    let up_to = last.filter(|_| rows.len() == limit).unwrap_or(stream.newest);
    Ok(Heads { of_numbers, up_to })
}

fn head(row: &Row) -> Result<Head> {
    let waiting = Waiting::from_row(row)?;
    let message = DownMessage {
        sequence: waiting.sequence,
        id: waiting.tag,
        raw: get(row, 5)?,
        body: Bytes::new(),
        at: unsigned(row, 6)?,
        redelivered: get(row, 8)?,
    };
    Ok(Head { waiting, message, expires_at: unsigned(row, 7)?, size: unsigned(row, 9)? })
}

/// Adds the contents of the messages, whose rows have these numbers.
async fn add_bodies(tx: &Tx, entries: &mut [DownEntry], numbers: &[i64]) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let mut bodies = BTreeMap::new();
    for row in tx.query(sql::BODIES, &[&numbers]).await? {
        bodies.insert(get::<i64>(&row, 0)?, Bytes::from(get::<Vec<u8>>(&row, 1)?));
    }
    let mut numbers = numbers.iter();
    for entry in entries {
        if let DownEntry::Message(message) = entry {
            let body = numbers.next().and_then(|number| bodies.remove(number));
            message.body = body.ok_or_else(|| Failure::damaged("a message has no content"))?;
        }
    }
    Ok(())
}

fn push_void(entries: &mut Vec<DownEntry>, from: u64, to: u64, reason: SkipReason) {
    match entries.last_mut() {
        Some(DownEntry::Void { to: last, reason: before, .. }) if *before == reason => *last = to,
        _ => entries.push(DownEntry::Void { from, to, reason }),
    }
}
