//! The dead letters of queues in SQLite: added, bounded, listed and expired.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{Head, Queue};
use super::sql;
use crate::dead_letters::DeadLetter;
use crate::queue_item::QueueItem;
use crate::sqlite::columns::{to_column, unsigned};

impl Queue<'_> {
    /// Copies an item to the dead letters. Returns how many of those were deleted for it.
    pub(super) fn park(
        &mut self,
        head: &Head,
        lane: String,
        reason: &str,
        at: u64,
    ) -> rusqlite::Result<u64> {
        let (QueueItem { lane, id, body, at: made_at }, _) = self.item(head.sequence, lane)?;
        self.database.prepare_cached(sql::ADD_DEAD_LETTER)?.execute(params![
            self.id,
            lane,
            id,
            to_column(made_at),
            to_column(at),
            reason,
            to_column(head.bytes),
            &body[..]
        ])?;
        self.parked += 1;
        self.parked_bytes += head.bytes;
        let mut dropped = 0;
        while self.lane_has_too_many(&lane)? {
            dropped += self.drop_dead_letter(sql::OLDEST_DEAD_LETTER_OF_LANE, Some(&lane))?;
        }
        let is_above = |queue: &Self| {
            queue.parked > DeadLetter::MAX || queue.parked_bytes > DeadLetter::MAX_BYTES
        };
        while is_above(self) && self.parked > 1 {
            let found = self.drop_dead_letter(sql::OLDEST_DEAD_LETTER, None)?;
            if found == 0 {
                break;
            }
            dropped += found;
        }
        Ok(dropped)
    }

    fn lane_has_too_many(&self, lane: &str) -> rusqlite::Result<bool> {
        let mut count = self.database.prepare_cached(sql::DEAD_LETTERS_OF_LANE)?;
        count.query_row(params![self.id, lane], |row| {
            let (letters, bytes) = (unsigned(row, 0)?, unsigned(row, 1)?);
            let is_above =
                letters > DeadLetter::MAX_PER_LANE || bytes > DeadLetter::MAX_BYTES_PER_LANE;
            Ok(is_above && letters > 1)
        })
    }

    /// Deletes the one that `oldest` finds in the queue, or in this lane of it. Returns how many: none or one.
    fn drop_dead_letter(&mut self, oldest: &str, lane: Option<&str>) -> rusqlite::Result<u64> {
        let mut oldest = self.database.prepare_cached(oldest)?;
        let number_and_bytes = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, unsigned(row, 1)?));
        let found = match lane {
            Some(lane) => oldest.query_row(params![self.id, lane], number_and_bytes),
            None => oldest.query_row([self.id], number_and_bytes),
        };
        let Some((number, bytes)) = found.optional()? else { return Ok(0) };
        self.database.prepare_cached(sql::REMOVE_DEAD_LETTER)?.execute([number])?;
        self.parked = self.parked.saturating_sub(1);
        self.parked_bytes = self.parked_bytes.saturating_sub(bytes);
        Ok(1)
    }

    /// Deletes up to `rows` dead letters, or about `bytes`. Returns how many.
    pub(super) fn clear_dead_letters(&mut self, rows: u64, bytes: u64) -> rusqlite::Result<u64> {
        let (mut removed, enough) = (0, self.parked_bytes.saturating_sub(bytes));
        while removed < rows && (removed == 0 || self.parked_bytes > enough) {
            if self.drop_dead_letter(sql::OLDEST_DEAD_LETTER, None)? == 0 {
                break;
            }
            removed += 1;
        }
        Ok(removed)
    }
}

/// Those of a queue after this number: up to `rows`, and up to about `bytes`.
pub(super) fn page(
    database: &Connection,
    queue: i64,
    after: u64,
    rows: u32,
    bytes: u64,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let mut find = database.prepare_cached(sql::DEAD_LETTERS)?;
    let mut found = find.query(params![queue, to_column(after), rows])?;
    let (mut letters, mut read) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        read += unsigned(row, 6)?;
        letters.push(dead_letter(row)?);
        if read >= bytes {
            break;
        }
    }
    Ok(letters)
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let body = Bytes::from(row.get::<_, Vec<u8>>(7)?);
    let item = QueueItem { lane: row.get(1)?, id: row.get(2)?, body, at: unsigned(row, 3)? };
    let (number, rejected_at) = (unsigned(row, 0)?, unsigned(row, 4)?);
    Ok(DeadLetter { number, item, rejected_at, reason: row.get(5)? })
}

/// Deletes up to `rows` that were rejected before this time, or about `bytes`. Returns how many.
pub(super) fn expire(
    database: &Connection,
    before: u64,
    rows: u64,
    bytes: u64,
) -> rusqlite::Result<u64> {
    let (mut removed, mut freed) = (0, 0);
    while removed < rows && freed < bytes {
        let mut find = database.prepare_cached(sql::EXPIRED_DEAD_LETTER)?;
        let found = find.query_row([to_column(before)], |row| {
            Ok((row.get::<_, i64>(0)?, unsigned(row, 1)?, row.get::<_, i64>(2)?))
        });
        let Some((number, size, queue)) = found.optional()? else { break };
        database.prepare_cached(sql::REMOVE_DEAD_LETTER)?.execute([number])?;
        let mut uncount = database.prepare_cached(sql::UNCOUNT_DEAD_LETTER)?;
        uncount.execute(params![queue, to_column(size)])?;
        removed += 1;
        freed += size;
    }
    Ok(removed)
}
