//! The verdict about a history. Time is the position of an entry.

use std::collections::{BTreeMap, HashMap};

use super::entry::{Answer, Direction, Entry, Fate, Lane, Message, Place, Program};

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

/// All that a history has about one message, with the positions of the entries.
#[derive(Debug, Default)]
struct Track<'a> {
    sent: Option<usize>,
    answer: Option<(usize, &'a Answer)>,
    delivered: bool,
    lost: bool,
    id: Option<&'a str>,
    received: bool,
    applied: bool,
}

/// Checks that nothing accepted is missing unless it was reported or the answer allows it, that nothing is received
/// twice without a flag and the same id, that first receptions of a lane are in the order of acceptance, and that no
/// application that stores ids acts on a message twice.
pub(super) fn check<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Verdict {
    let mut tracks: BTreeMap<Message, Track<'_>> = BTreeMap::new();
    let mut kills = Vec::new();
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
                    verdict.findings.extend(track.other_id(*message, id));
                }
            }
            Entry::Reported(message, fate) => {
                let track = tracks.entry(*message).or_default();
                match fate {
                    Fate::Delivered => track.delivered = true,
                    Fate::Lost => track.lost = true,
                }
            }
            Entry::Received { message, id, redelivered } => {
                let track = tracks.entry(*message).or_default();
                if let Some(id) = id {
                    verdict.findings.extend(track.other_id(*message, id));
                }
                if !track.received {
                    track.received = true;
                    received.push(*message);
                    continue;
                }
                verdict.again += 1;
                if !redelivered || id.is_none() {
                    verdict.findings.push(Finding::Doubled(*message));
                }
            }
            Entry::Applied(message) => {
                let track = tracks.entry(*message).or_default();
                if std::mem::replace(&mut track.applied, true) {
                    verdict.findings.push(Finding::AppliedTwice(*message));
                }
            }
            Entry::Killed(program) => kills.push((*program, position)),
        }
    }
    verdict.findings.extend(reordered(&received, &tracks));
    verdict.received = received.len();
    for (message, track) in &tracks {
        verdict.judge(*message, track, &tracks, &kills);
    }
    verdict
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
        kills: &[(Program, usize)],
    ) {
        if track.sent.is_some() {
            self.sent += 1;
        } else if track.received {
            self.findings.push(Finding::Unsent(message));
            return;
        }
        match track.answer {
            Some((_, Answer::Accepted(..))) => self.accepted += 1,
            Some((_, Answer::Refused)) => self.refused += 1,
            Some((_, Answer::Unknown)) | None => self.unknown += 1,
        }
        if track.received {
            if matches!(track.answer, Some((_, Answer::Refused))) {
                self.findings.push(Finding::RefusedButReceived(message));
            }
            if track.lost {
                self.findings.push(Finding::LostButReceived(message));
            }
            return;
        }
        let Some(place) = track.place() else {
            if track.delivered {
                self.findings.push(Finding::Lost(message));
            }
            return;
        };
        if track.delivered {
            self.findings.push(Finding::Lost(message));
        } else if track.lost {
            self.reported_lost.push(message);
        } else if match place {
            Place::Connection => true,
            Place::Read => {
                was_lost_by_a_kill(message.direction.receiver(), message, track, tracks, kills)
            }
            Place::Memory => {
                was_lost_by_a_kill(message.direction.sender(), message, track, tracks, kills)
            }
            Place::Disk => false,
        } {
            self.lost.push(message);
        } else {
            self.findings.push(Finding::Lost(message));
        }
    }
}

impl<'a> Track<'a> {
    /// Takes an id, and finds one that differs from the former.
    fn other_id(&mut self, message: Message, id: &'a str) -> Option<Finding> {
        let known = *self.id.get_or_insert(id);
        (known != id).then_some(Finding::OtherId(message))
    }

    fn place(&self) -> Option<Place> {
        match self.answer {
            Some((_, Answer::Accepted(place, _))) => Some(*place),
            _ => None,
        }
    }

    /// When it was accepted.
    fn accepted(&self) -> Option<usize> {
        self.answer.and_then(|(at, _)| self.place().map(|_| at))
    }
}

/// Whether the memory that held it was lost before the other application had it: the holder was killed, and nothing
/// that the same memory accepted after it was received.
fn was_lost_by_a_kill(
    holder: Program,
    message: Message,
    track: &Track<'_>,
    tracks: &BTreeMap<Message, Track<'_>>,
    kills: &[(Program, usize)],
) -> bool {
    let (Some(sent), Some(accepted)) = (track.sent, track.accepted()) else { return false };
    kills.iter().any(|(program, killed)| {
        let is_later = |other: &Message, track: &Track<'_>| {
            other.direction == message.direction
                && other.lane == message.lane
                && track.received
                && track.sent.is_some_and(|at| at > accepted)
                && track.accepted().is_some_and(|at| at < *killed)
        };
        *program == holder
            && *killed > sent
            && !tracks.iter().any(|(other, track)| is_later(other, track))
    })
}

/// First receptions that came after that of a message which was sent when they were already accepted.
fn reordered(received: &[Message], tracks: &BTreeMap<Message, Track<'_>>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut last_sent: HashMap<(Direction, Lane), (usize, Message)> = HashMap::new();
    for message in received {
        let Some(track) = tracks.get(message) else { continue };
        let lane = (message.direction, message.lane);
        if let (Some(accepted), Some((sent, later))) = (track.accepted(), last_sent.get(&lane)) {
            if *sent > accepted {
                found.push(Finding::Reordered(*message, *later));
            }
        }
        if let Some(sent) = track.sent {
            let last = last_sent.entry(lane).or_insert((sent, *message));
            if sent > last.0 {
                *last = (sent, *message);
            }
        }
    }
    found
}
