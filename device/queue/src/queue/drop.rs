//! Gives up the oldest segment of a lane. What it contained is replaced on disk by one record that says so.

use std::io;

use fedecks_protocol::{Lane, SkipReason, Tag};

use super::{InFlight, Queue};
use crate::directory::Directory;
use crate::error::{Full, Lost};
use crate::record::Record;
use crate::segment::{Expiry, HEADER, Segment, encode_header, next};

const NEW: &str = "void.new";

impl<D: Directory> Queue<D> {
    /// Removes a segment of the lane of which nothing is in flight: one whose messages have all expired at `now_ms`
    /// (milliseconds since 1970-01-01 UTC, if the clock is plausible), else the oldest, but of the urgent lane none
    /// that has not expired. Returns what is lost by it; none if there is no such segment.
    pub fn drop_oldest(
        &mut self,
        lane: Lane,
        now_ms: Option<u64>,
        in_flight: &[InFlight],
    ) -> Result<Option<Lost>, Full> {
        loop {
            let Some((order, reason)) = self.oldest(lane, now_ms, in_flight)? else {
                return Ok(None);
            };
            let lost = self.give_up(order, reason);
            // It has lost nothing if all of it is acknowledged: then the next one has its turn.
            if lost.is_some() || !self.segments.iter().any(|segment| segment.lane == lane) {
                return Ok(lost);
            }
        }
    }

    /// The segment to give up next, and why.
    fn oldest(
        &self,
        lane: Lane,
        now_ms: Option<u64>,
        in_flight: &[InFlight],
    ) -> Result<Option<(u64, SkipReason)>, Full> {
        let flies = |segment: &Segment| {
            in_flight
                .iter()
                .any(|sent| sent.stream == segment.stream && segment.first <= sent.up_to)
        };
        let free =
            |segment: &&Segment| segment.lane == lane && segment.void.is_none() && !flies(segment);
        let expired = |segment: &&Segment| now_ms.is_some_and(|now| segment.expiry.is_over(now));
        let found = self.segments.iter().filter(free).find(expired);
        Ok(match (found, lane) {
            (Some(segment), _) => Some((segment.order, SkipReason::Expired)),
            (None, Lane::Urgent) => return Err(Full),
            (None, Lane::Normal) => {
                let first = self.segments.iter().find(free);
                first.map(|segment| (segment.order, SkipReason::QueueFull))
            }
        })
    }

    fn give_up(&mut self, order: u64, reason: SkipReason) -> Option<Lost> {
        let index = self.segments.iter().position(|segment| segment.order == order)?;
        let segment = self.segments[index].clone();
        let known = self.streams.iter_mut().find(|known| known.id == segment.stream)?;
        known.active = known.active.filter(|active| *active != order);
        let from = segment.first.max(known.acknowledged.saturating_add(1));
        let Segment { stream, lane, last: to, .. } = segment;
        if from > to {
            let _ = self.directory.remove(&segment.name());
            self.segments.remove(index);
            self.cursor = None;
            return None;
        }
        let count = segment.messages.min(to.saturating_add(1).saturating_sub(from));
        let acknowledged = known.acknowledged;
        let tags = self.tags(&segment, from);
        let lost = Lost { stream, lane, from, to, count, tags, reason };

        // Merged with the one before, so that they do not pile up.
        let before =
            self.segments[..index].iter().rposition(|one| one.stream == stream).filter(|before| {
                let before = &self.segments[*before];
                before.void == Some(reason) && before.last.saturating_add(1) == from
            });
        let first = before.map_or(from, |before| self.segments[before].first);
        let mut content = encode_header(stream, lane, first);
        Record::void(first, to, reason)
            .encode(first <= acknowledged.saturating_add(1), &mut content);
        if self.replace(&segment.name(), &content).is_ok() {
            let used = content.len();
            let (len, expiry) = (used as u64, Expiry::default());
            let void = Some(reason);
            self.segments[index] =
                Segment { first, messages: 0, used, len, expiry, void, ..segment };
            if let Some(before) = before {
                let _ = self.directory.remove(&self.segments[before].name());
                self.segments.remove(before);
            }
        } else {
            // No room even for that: the numbers are missing, which the next start finds.
            let _ = self.directory.remove(&segment.name());
            self.segments.remove(index);
        }
        self.cursor = None;
        Some(lost)
    }

    /// The ids of the messages of a segment from a number on, as far as they can be read.
    fn tags(&mut self, segment: &Segment, from: u64) -> Vec<Tag> {
        let bytes = self.directory.read_at(&segment.name(), 0, segment.used).unwrap_or_default();
        let (mut at, mut previous, mut tags) = (HEADER, 0, Vec::new());
        while let Some(decoded) = next(&bytes, at, previous) {
            at += decoded.len;
            previous = decoded.record.last();
            if decoded.record.is_message() && decoded.record.sequence >= from {
                tags.push(decoded.record.tag);
            }
        }
        tags
    }

    fn replace(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let replaced = self.write_new(NEW, content).and_then(|()| self.directory.rename(NEW, name));
        if replaced.is_err() {
            let _ = self.directory.remove(NEW);
        }
        replaced.and_then(|()| self.directory.sync_names())
    }
}
