//! All that a history has about one message, and what of it excuses that the message is missing or late.

use std::collections::HashMap;

use super::entry::{Answer, Direction, Message, Place, Program};

/// All that a history has about one message, with the positions of the entries.
#[derive(Debug, Default)]
pub(super) struct Track<'a> {
    pub(super) sent: Option<usize>,
    pub(super) answer: Option<(usize, &'a Answer)>,
    pub(super) delivered: bool,
    pub(super) lost: Option<usize>,
    /// The first reception.
    pub(super) received: Option<usize>,
    /// Different ones, of the answer and of the receptions.
    pub(super) ids: Vec<&'a str>,
    /// Those of receptions.
    pub(super) received_ids: Vec<&'a str>,
    pub(super) applied: usize,
    /// When the storage of each program lost it.
    pub(super) erased_from_device: Option<usize>,
    pub(super) erased_from_cloud: Option<usize>,
    /// When an older copy of the device's disk brought it back.
    pub(super) brought: Vec<usize>,
    /// When a second device began that has a copy of it.
    pub(super) copied: Vec<usize>,
}

/// What a history has apart from messages.
#[derive(Debug, Default)]
pub(super) struct Events<'a> {
    pub(super) kills: Vec<(Program, usize)>,
    /// From when to when the device's disk may have failed.
    pub(super) disk_failures: Vec<(usize, usize)>,
    /// Ids that the cloud's storage has lost, and when.
    pub(super) erased_ids: HashMap<&'a str, usize>,
}

impl<'a> Track<'a> {
    pub(super) fn add_id(&mut self, id: &'a str) {
        if !self.ids.contains(&id) {
            self.ids.push(id);
        }
    }

    /// Notes a reception with this id, if it has one. Returns whether the application had it before.
    pub(super) fn receive(&mut self, position: usize, id: Option<&'a str>) -> bool {
        let is_first = self.received.is_none();
        self.received.get_or_insert(position);
        let Some(id) = id else { return !is_first };
        self.add_id(id);
        let is_known = self.received_ids.contains(&id);
        if !is_known {
            self.received_ids.push(id);
        }
        // Another id than before is judged by itself.
        is_known || !is_first && self.received_ids.len() == 1
    }

    /// Whether it has two ids that it must not have. It may have another one if a request was repeated, since it had no
    /// answer, after the cloud's storage had lost the message together with the key of the request.
    pub(super) fn has_other_id(&self, events: &Events<'_>) -> bool {
        let erased = |id: &&str| events.erased_ids.get(*id).copied();
        let was_answered = |at: usize| self.answer.is_some_and(|(answered, _)| answered < at);
        let left = self.ids.iter().filter(|id| erased(id).is_none()).count();
        let is_excused = |id: &&str| erased(id).is_none_or(|at| !was_answered(at));
        self.ids.len() > 1 && (left > 1 || !self.ids.iter().all(is_excused))
    }

    pub(super) fn place(&self) -> Option<Place> {
        match self.answer {
            Some((_, Answer::Accepted(place, _))) => Some(*place),
            _ => None,
        }
    }

    /// When it was accepted.
    pub(super) fn accepted(&self) -> Option<usize> {
        self.answer.and_then(|(at, _)| self.place().map(|_| at))
    }

    /// Whether it may have arrived, and been reported as lost, in this order or the other: it existed twice.
    pub(super) fn may_be_lost_and_received(&self) -> bool {
        let (Some(lost), Some(received)) = (self.lost, self.received) else { return true };
        let separates = |at: &usize| (lost < *at) != (received < *at);
        self.brought.iter().any(separates) || self.copied.iter().any(|at| *at < received)
    }
}

impl Events<'_> {
    /// Whether a newer message may be sent before this one: that was left on the device's disk by an earlier start than
    /// the one that has accepted the newer one, which the disk failed in.
    pub(super) fn may_overtake(
        &self,
        direction: Direction,
        older: &Track<'_>,
        newer: &Track<'_>,
    ) -> bool {
        let (Some(accepted), Some(sent)) = (older.accepted(), newer.sent) else { return false };
        let received = newer.received.unwrap_or(usize::MAX);
        let is_kill = |kill: &&(Program, usize)| kill.0 == Program::Device && kill.1 < sent;
        let Some((_, killed)) = self.kills.iter().rev().find(is_kill) else { return false };
        let fails = |(begin, end): &(usize, usize)| *begin < received && *end > *killed;
        direction == Direction::Up && accepted < *killed && self.disk_failures.iter().any(fails)
    }
}

/// Whether something that was accepted after a message in its lane, and before `end`, was received; then the message
/// had gone before that.
pub(super) fn a_later_one_arrived<'t>(
    (message, track): (Message, &Track<'_>),
    end: usize,
    events: &Events<'_>,
    mut tracks: impl Iterator<Item = (&'t Message, &'t Track<'t>)>,
) -> bool {
    let Some(accepted) = track.accepted() else { return false };
    tracks.any(|(other, it)| {
        other.direction == message.direction
            && other.lane == message.lane
            && it.received.is_some()
            && it.sent.is_some_and(|at| at > accepted)
            && it.accepted().is_some_and(|at| at < end)
            && !events.may_overtake(message.direction, track, it)
    })
}
