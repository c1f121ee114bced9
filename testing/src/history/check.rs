//! The verdict about a history. Time is the position of an entry.

use std::collections::{BTreeMap, HashMap};

use super::entry::{Answer, Direction, Entry, Erased, Fate, Lane, Message, Place, Program};
use super::track::{Events, Track, a_later_one_arrived};

/// What is to be said about a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages that were sent.
    pub sent: usize,
    /// Those that were accepted.
    pub accepted: usize,
    /// Those that were refused.
    pub refused: usize,
    /// Those whose answer was lost.
    pub unknown: usize,
    /// Those that were received, each counted once.
    pub received: usize,
    /// How often a message was received again.
    pub again: usize,
    /// Accepted messages that were not received, and were reported as lost.
    pub reported_lost: Vec<Message>,
    /// Accepted messages that were not received although no end was informed, which their acceptance allows.
    pub lost: Vec<Message>,
    /// What must not be.
    pub findings: Vec<Finding>,
}

/// What a history must not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It was accepted or reported as delivered, but neither received nor reported as lost.
    Lost(Message),
    /// It was received again without the flag, or without an id.
    Doubled(Message),
    /// It was received with another id than before, or than it was accepted with.
    OtherId(Message),
    /// It was accepted before another one was sent, and received for the first time after it.
    Reordered(Message, /** The later one. */ Message),
    /// It was received but never sent.
    Unsent(Message),
    /// It was received although it was refused.
    RefusedButReceived(Message),
    /// It was received although it was reported as lost.
    LostButReceived(Message),
    /// An application that stores ids has acted on it twice.
    AppliedTwice(Message),
}

/// Checks that nothing accepted is missing unless it was reported, the answer allows it, or the storage that held it was
/// erased; that nothing is received twice without a flag and the same id; that first receptions of a lane are in the order
/// of acceptance; and that no application that stores ids acts on a message twice.
pub(super) fn check<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Verdict {
    let mut tracks: BTreeMap<Message, Track<'_>> = BTreeMap::new();
    let mut events = Events::default();
    let mut verdict = Verdict::default();
    // First receptions, in their order.
    let mut received = Vec::new();
    for (position, entry) in entries.into_iter().enumerate() {
        match entry {
            Entry::Sent(message) => tracks.entry(*message).or_default().sent = Some(position),
            Entry::Answered(message, answer) => {
                let track = tracks.entry(*message).or_default();
                track.answer = Some((position, answer));
                if let Answer::Accepted(_, Some(id)) = answer {
                    track.add_id(id);
                }
            }
            Entry::Reported(message, fate) => {
                let track = tracks.entry(*message).or_default();
                match fate {
                    Fate::Delivered => track.delivered = true,
                    Fate::Lost => track.lost = Some(track.lost.unwrap_or(position)),
                }
            }
            Entry::Received { message, id, redelivered } => {
                let track = tracks.entry(*message).or_default();
                if track.received.is_none() {
                    received.push(*message);
                } else {
                    verdict.again += 1;
                }
                let is_again = track.receive(position, id.as_deref());
                if is_again && (!redelivered || id.is_none()) {
                    verdict.findings.push(Finding::Doubled(*message));
                }
            }
            Entry::Applied(message) => {
                let track = tracks.entry(*message).or_default();
                track.applied += 1;
                if track.applied > track.received_ids.len().max(1) {
                    verdict.findings.push(Finding::AppliedTwice(*message));
                }
            }
            Entry::Killed(program) => events.kills.push((*program, position)),
            Entry::DiskFails => events.disk_failures.push((position, usize::MAX)),
            Entry::DiskWorks => {
                events.disk_failures.iter_mut().for_each(|(_, end)| *end = position.min(*end));
            }
            Entry::Erased(erased) => erase(position, erased, &mut tracks, &mut events),
            Entry::Copied(messages) => {
                messages.iter().for_each(|it| tracks.entry(*it).or_default().copied.push(position));
            }
        }
    }
    verdict.findings.extend(reordered(&received, &tracks, &events));
    verdict.received = received.len();
    for (message, track) in &tracks {
        verdict.judge(*message, track, &tracks, &events);
    }
    verdict
}

fn erase<'a>(
    position: usize,
    erased: &'a Erased,
    tracks: &mut BTreeMap<Message, Track<'a>>,
    events: &mut Events<'a>,
) {
    for message in &erased.messages {
        let track = tracks.entry(*message).or_default();
        match erased.holder {
            Program::Device => track.erased_from_device = Some(position),
            Program::Cloud => track.erased_from_cloud = Some(position),
        }
    }
    for id in &erased.ids {
        events.erased_ids.insert(id, position);
    }
    for message in &erased.brought {
        tracks.entry(*message).or_default().brought.push(position);
    }
}

impl Verdict {
    /// Whether nothing was found, and nothing was lost without a report.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.lost.is_empty()
    }

    fn judge(
        &mut self,
        message: Message,
        track: &Track<'_>,
        tracks: &BTreeMap<Message, Track<'_>>,
        events: &Events<'_>,
    ) {
        if track.sent.is_some() {
            self.sent += 1;
        } else if track.received.is_some() {
            self.findings.push(Finding::Unsent(message));
            return;
        } else {
            return;
        }
        match track.answer {
            Some((_, Answer::Accepted(..))) => self.accepted += 1,
            Some((_, Answer::Refused)) => self.refused += 1,
            Some((_, Answer::Unknown)) | None => self.unknown += 1,
        }
        if track.has_other_id(events) {
            self.findings.push(Finding::OtherId(message));
        }
        if track.received.is_some() {
            if matches!(track.answer, Some((_, Answer::Refused))) {
                self.findings.push(Finding::RefusedButReceived(message));
            }
            if !track.may_be_lost_and_received() {
                self.findings.push(Finding::LostButReceived(message));
            }
            return;
        }
        if track.delivered {
            self.findings.push(Finding::Lost(message));
            return;
        }
        let Some(place) = track.place() else { return };
        if track.lost.is_some() {
            self.reported_lost.push(message);
        } else if may_be_missing(message, track, place, tracks, events) {
            self.lost.push(message);
        } else {
            self.findings.push(Finding::Lost(message));
        }
    }
}

/// Whether the place of a message, or a fault of the storage that held it, allows that it was not received.
fn may_be_missing(
    message: Message,
    track: &Track<'_>,
    place: Place,
    tracks: &BTreeMap<Message, Track<'_>>,
    events: &Events<'_>,
) -> bool {
    let had_gone = |end| a_later_one_arrived((message, track), end, events, tracks.iter());
    // Nothing that was erased was sent after that.
    let since_sent = |at: &usize| track.sent.is_some_and(|sent| sent < *at);
    let was_erased_with_id = track.ids.iter().any(|id| events.erased_ids.contains_key(id));
    if was_erased_with_id || track.erased_from_cloud.is_some_and(|at| since_sent(&at)) {
        return true;
    }
    if track.erased_from_device.is_some_and(|at| since_sent(&at) && !had_gone(at)) {
        return true;
    }
    // The memory that held it was lost before the other application had it: its program was killed, and nothing that the
    // same memory accepted after it was received.
    let was_lost_by_a_kill = |holder| {
        let mut kills = events.kills.iter().filter(|(program, _)| *program == holder);
        kills.any(|(_, killed)| since_sent(killed) && !had_gone(*killed))
    };
    match place {
        Place::Connection => true,
        Place::Read => was_lost_by_a_kill(message.direction.receiver()),
        Place::Memory => was_lost_by_a_kill(message.direction.sender()),
        Place::Disk => false,
    }
}

/// First receptions that came after that of a message which was sent when they were already accepted.
fn reordered(
    received: &[Message],
    tracks: &BTreeMap<Message, Track<'_>>,
    events: &Events<'_>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut last_sent: HashMap<(Direction, Lane), usize> = HashMap::new();
    for (index, message) in received.iter().enumerate() {
        let Some(track) = tracks.get(message) else { continue };
        let lane = |it: &Message| (it.direction, it.lane);
        let last = last_sent.entry(lane(message)).or_default();
        if let Some(accepted) = track.accepted().filter(|at| *last > *at) {
            let before = received[..index].iter().filter(|it| lane(it) == lane(message));
            let later = before
                .filter_map(|it| tracks.get(it).map(|newer| (newer, it)))
                .filter(|(newer, _)| newer.sent.is_some_and(|at| at > accepted))
                .filter(|(newer, _)| !events.may_overtake(message.direction, track, newer))
                .max_by_key(|(newer, _)| newer.sent);
            found.extend(later.map(|(_, it)| Finding::Reordered(*message, *it)));
        }
        *last = (*last).max(track.sent.unwrap_or_default());
    }
    found
}
