//! What happened to the devices, counted, and what should not have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

/// How many descriptions of what was unexpected are kept.
const DESCRIBED: usize = 20;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Connects,
    /// Connections that the device closed.
    Closed,
    /// Connections that the device reset.
    Reset,
    /// Connections on which the device fell silent until the server ended them.
    Expired,
    /// The same, but the device came back before, and its new connection replaced this one.
    Replaced,
    Pings,
    Pongs,
    MessagesSent,
    MessagesReceived,
    /// Kept messages that devices made, and those that the server acknowledged.
    KeptMade,
    KeptAcknowledged,
    /// Kept messages that the server's API accepted, and those that devices took.
    KeptAccepted,
    KeptTaken,
    /// Kept messages that arrived once more with the flag that says so.
    KeptAgain,
    MessagesAccepted,
    QuestionsAnswered,
    /// Questions and messages to a device that had just left.
    TooLate,
    Unexpected,
}

const NAMES: [(Count, &str); 18] = [
    (Count::Connects, "connects"),
    (Count::Closed, "closed"),
    (Count::Reset, "reset"),
    (Count::Expired, "expired"),
    (Count::Replaced, "replaced"),
    (Count::Pings, "pings"),
    (Count::Pongs, "pongs"),
    (Count::MessagesSent, "messages_sent"),
    (Count::MessagesReceived, "messages_received"),
    (Count::KeptMade, "kept_made"),
    (Count::KeptAcknowledged, "kept_acknowledged"),
    (Count::KeptAccepted, "kept_accepted"),
    (Count::KeptTaken, "kept_taken"),
    (Count::KeptAgain, "kept_again"),
    (Count::MessagesAccepted, "messages_accepted"),
    (Count::QuestionsAnswered, "questions_answered"),
    (Count::TooLate, "too_late"),
    (Count::Unexpected, "unexpected"),
];

/// The counts of all devices.
#[derive(Default)]
pub(super) struct Tally {
    counts: [AtomicU64; NAMES.len()],
    unexpected: Mutex<Vec<String>>,
}

impl Tally {
    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Count, number: u64) {
        if let Some(count) = self.counts.get(what as usize) {
            count.fetch_add(number, Ordering::Relaxed);
        }
    }

    pub(super) fn of(&self, what: Count) -> u64 {
        self.counts.get(what as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Something that must not happen, which makes the run fail.
    pub(super) fn unexpected(&self, what: String) {
        self.count(Count::Unexpected);
        let mut descriptions = self.unexpected.lock().unwrap_or_else(PoisonError::into_inner);
        if descriptions.len() < DESCRIBED {
            descriptions.push(what);
        }
    }

    /// The first of what was unexpected.
    pub(super) fn descriptions(&self) -> Vec<String> {
        self.unexpected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All counts by name.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        NAMES.iter().map(|(what, name)| ((*name).to_owned(), json!(self.of(*what)))).collect()
    }
}
