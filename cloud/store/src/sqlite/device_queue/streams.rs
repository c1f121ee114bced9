//! The stream of a lane: how far it is, and the ranges of its numbers whose message was given up.

use fedecks_protocol::{Lane, SkipReason, StreamId, Tag};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sql;
use crate::sqlite::columns::{lane, tag, tag_to_column, to_column, unsigned};

/// With more ranges than this in a stream, neighbours are merged even if their reasons differ: otherwise they were
/// only bounded by how often messages are given up.
const MAX_VOIDS: u64 = 500;

/// The stream of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) lane: Lane,
    pub(super) id: StreamId,
    /// The last number.
    pub(super) newest: u64,
    /// Up to here the device is done.
    pub(super) acknowledged: u64,
    /// The tag of that number; 0 if it is not known.
    pub(super) tag: Tag,
    /// The last number that was handed out, and may have arrived; not less than `acknowledged`.
    pub(super) tried: u64,
    /// The number of ranges.
    voids: u64,
}

/// Numbers without a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Void {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) reason: SkipReason,
}

impl Stream {
    /// An empty stream.
    pub(super) fn new(lane: Lane) -> Self {
        let id = StreamId(rand::random());
        Self { lane, id, newest: 0, acknowledged: 0, tag: Tag(0), tried: 0, voids: 0 }
    }

    /// Reads a row of [`sql::STREAMS`].
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            lane: lane(row, 0)?,
            id: StreamId(row.get(1)?),
            newest: unsigned(row, 2)?,
            acknowledged: unsigned(row, 3)?,
            tag: tag(row, 4)?,
            tried: unsigned(row, 5)?,
            voids: unsigned(row, 6)?,
        })
    }

    pub(super) fn save(&self, database: &Connection, device: &str) -> rusqlite::Result<()> {
        let mut save = database.prepare_cached(sql::SAVE_STREAM)?;
        save.execute(params![
            device,
            self.lane_column(),
            self.id.0,
            to_column(self.newest),
            to_column(self.acknowledged),
            tag_to_column(self.tag),
            to_column(self.tried),
            to_column(self.voids)
        ])
        .map(drop)
    }

    pub(super) fn lane_column(&self) -> i64 {
        to_column(self.lane.number())
    }

    /// The first range that ends at this number or later.
    pub(super) fn void_from(
        &self,
        database: &Connection,
        device: &str,
        number: u64,
    ) -> rusqlite::Result<Option<Void>> {
        let mut find = database.prepare_cached(sql::VOID_FROM)?;
        find.query_row(params![device, self.lane_column(), to_column(number)], |row| {
            let reason = SkipReason::from_number(unsigned(row, 2)?);
            Ok(Void { first: unsigned(row, 0)?, last: unsigned(row, 1)?, reason })
        })
        .optional()
    }

    /// Remembers that a number has no message any more.
    pub(super) fn void(
        &mut self,
        database: &Connection,
        device: &str,
        number: u64,
        reason: SkipReason,
    ) -> rusqlite::Result<()> {
        let mut range = Void { first: number, last: number, reason };
        let is_crowded = self.voids >= MAX_VOIDS;
        let before = self.void_from(database, device, number - 1)?;
        let after = self.void_from(database, device, number + 1)?;
        let mut remove = database.prepare_cached(sql::REMOVE_VOID)?;
        for neighbour in [before, after].into_iter().flatten() {
            let touches = neighbour.last + 1 == range.first || range.last + 1 == neighbour.first;
            if touches && (neighbour.reason == range.reason || is_crowded) {
                remove.execute(params![device, self.lane_column(), to_column(neighbour.last)])?;
                self.voids = self.voids.saturating_sub(1);
                range.first = range.first.min(neighbour.first);
                range.last = range.last.max(neighbour.last);
                range.reason = neighbour.reason;
            }
        }
        self.voids += 1;
        let Void { first, last, reason } = range;
        let mut add = database.prepare_cached(sql::ADD_VOID)?;
        let reason = to_column(reason.number());
        add.execute(params![device, self.lane_column(), to_column(first), to_column(last), reason])
            .map(drop)
    }

    /// Whether the device can be done with this number, which has this tag, as far as is known here. If the tag is
    /// `optional` it may be 0 as well. Otherwise that is taken for what an older copy of the store numbered.
    pub(super) fn agrees(
        &self,
        database: &Connection,
        device: &str,
        (up_to, its_tag): (u64, Tag),
        optional: bool,
    ) -> rusqlite::Result<bool> {
        let no_tag = Tag(0);
        if up_to > self.newest {
            return Ok(false);
        }
        if up_to < self.acknowledged || (optional && its_tag == no_tag) {
            return Ok(true);
        }
        if up_to == self.acknowledged {
            return Ok([its_tag, self.tag].contains(&no_tag) || self.tag == its_tag);
        }
        let mut at = database.prepare_cached(sql::AT)?;
        let known =
            at.query_row(params![device, self.lane_column(), to_column(up_to)], |row| tag(row, 1));
        Ok(known.optional()?.unwrap_or(no_tag) == its_tag)
    }

    /// The device is done up to this number.
    pub(super) fn advance(
        &mut self,
        database: &Connection,
        device: &str,
        up_to: u64,
        its_tag: Tag,
    ) -> rusqlite::Result<()> {
        let mut remove = database.prepare_cached(sql::REMOVE_VOIDS_TO)?;
        let removed = remove.execute(params![device, self.lane_column(), to_column(up_to)])?;
        self.voids = self.voids.saturating_sub(removed as u64);
        self.acknowledged = up_to;
        self.tag = its_tag;
        self.tried = self.tried.max(up_to);
        Ok(())
    }

    /// What follows the acknowledged number did not arrive, or was forgotten.
    pub(super) fn take_back(
        &mut self,
        database: &Connection,
        device: &str,
    ) -> rusqlite::Result<()> {
        let mut take_back = database.prepare_cached(sql::TAKE_BACK)?;
        let (from, to) = (to_column(self.acknowledged), to_column(self.tried));
        take_back.execute(params![device, self.lane_column(), from, to])?;
        self.tried = self.acknowledged;
        Ok(())
    }
}
