//! Handing out: what follows a number in a stream, and the memory of what was handed out.

use bytes::Bytes;
use fedecks_protocol::{Lane, SkipReason};
use rusqlite::{Connection, OptionalExtension, params};

use super::queue::{Queue, Waiting};
use super::sql;
use super::streams::Stream;
use crate::device_queue::{DownEntry, DownMessage, DownRoom, DownState, DownWindow};
use crate::sqlite::columns::{to_column, unsigned};

/// The most numbers that a window passes, so that a call is short when many have no message.
const MAX_STEPS: usize = 500;

/// What a number carries.
struct Head {
    waiting: Waiting,
    message: DownMessage,
    expires_at: u64,
    size: u64,
}

/// The window if it hands out nothing for the first time. The outer `None` says that [`hand_out`] has to.
pub(super) fn peek(
    database: &Connection,
    device: &str,
    lane: Lane,
    after: u64,
    room: DownRoom,
) -> rusqlite::Result<Option<Option<DownWindow>>> {
    let mut queue = Queue::open(database, device)?;
    let Some(stream) = queue.stream(lane) else { return Ok(Some(None)) };
    let after = after.max(stream.acknowledged);
    if room.messages > 0 && after < stream.newest && stream.tried < stream.newest {
        return Ok(None);
    }
    // All of this was handed out, and does not expire.
    fill(&mut queue, lane, after, room, 0).map(Some)
}

/// The window. Remembers how far it is, and voids what has expired.
pub(super) fn hand_out(
    database: &Connection,
    device: &str,
    lane: Lane,
    after: u64,
    room: DownRoom,
    now: u64,
) -> rusqlite::Result<Option<DownWindow>> {
    let mut queue = Queue::open(database, device)?;
    let Some(stream) = queue.stream(lane) else { return Ok(None) };
    let after = after.max(stream.acknowledged);
    let window = fill(&mut queue, lane, after, room, now)?;
    let last = window.as_ref().and_then(|window| window.entries.last());
    let last = last.map_or(after, |last| match last {
        DownEntry::Message(message) => message.sequence,
        DownEntry::Void { to, .. } => *to,
    });
    if let Some(stream) = queue.stream_mut(lane) {
        stream.tried = stream.tried.max(last.min(stream.newest));
    }
    queue.save()?;
    Ok(window)
}

fn fill(
    queue: &mut Queue<'_>,
    lane: Lane,
    after: u64,
    room: DownRoom,
    now: u64,
) -> rusqlite::Result<Option<DownWindow>> {
    let Some(stream) = queue.stream(lane).cloned() else { return Ok(None) };
    let Stream { id, newest, acknowledged, tried, .. } = stream;
    let (mut entries, mut expired) = (Vec::new(), Vec::new());
    let (mut next, mut messages, mut bytes) = (after + 1, 0, 0);
    for _ in 0..MAX_STEPS {
        if next > newest || messages >= room.messages {
            break;
        }
        let Some(head) = head(queue, &stream, next)? else {
            let void = stream.void_from(queue.database, queue.device, next)?;
            let void = void.filter(|void| void.first <= next);
            // A hole in a damaged store must not stop the lane.
            let (to, reason) =
                void.map_or((next, SkipReason::Damaged), |void| (void.last, void.reason));
            push_void(&mut entries, next, to, reason);
            next = to + 1;
            continue;
        };
        if next > tried && head.expires_at <= now {
            queue.give_up(&head.waiting, DownState::Expired, now)?;
            expired.push(head.waiting.tag);
            push_void(&mut entries, next, next, SkipReason::Expired);
        } else {
            if messages > 0 && bytes + head.size > room.bytes {
                break;
            }
            messages += 1;
            bytes += head.size;
            let mut body = queue.database.prepare_cached(sql::BODY)?;
            let body: Vec<u8> = body.query_row([head.waiting.number], |row| row.get(0))?;
            let redelivered = head.message.redelivered || next <= tried;
            let message = DownMessage { body: Bytes::from(body), redelivered, ..head.message };
            entries.push(DownEntry::Message(message));
        }
        next += 1;
    }
    let (stream, oldest, more) = (id, acknowledged + 1, next <= newest);
    Ok(Some(DownWindow { stream, oldest, newest, tried, entries, expired, more }))
}

/// The message with this number, without its body.
fn head(queue: &Queue<'_>, stream: &Stream, number: u64) -> rusqlite::Result<Option<Head>> {
    let mut at = queue.database.prepare_cached(sql::AT)?;
    at.query_row(params![queue.device, stream.lane_column(), to_column(number)], |row| {
        let waiting = Waiting::from_row(row)?;
        let message = DownMessage {
            sequence: waiting.sequence,
            id: waiting.tag,
            raw: row.get(5)?,
            body: Bytes::new(),
            at: unsigned(row, 6)?,
            redelivered: row.get(8)?,
        };
        Ok(Head { waiting, message, expires_at: unsigned(row, 7)?, size: unsigned(row, 9)? })
    })
    .optional()
}

fn push_void(entries: &mut Vec<DownEntry>, from: u64, to: u64, reason: SkipReason) {
    match entries.last_mut() {
        Some(DownEntry::Void { to: last, reason: before, .. }) if *before == reason => *last = to,
        _ => entries.push(DownEntry::Void { from, to, reason }),
    }
}
