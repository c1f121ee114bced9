//! Histories of messages between two applications: what each has sent, was answered and has received, in one order.
//! `check` says whether a history keeps what the answers have promised.

mod check;
mod entry;
#[cfg(test)]
mod tests;
mod track;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use self::check::check;
pub use self::check::{Finding, Verdict};
pub use self::entry::{Answer, Direction, Entry, Erased, Fate, Lane, Message, Place, Program};

/// Collects entries from all applications of a trial.
#[derive(Debug)]
pub struct History {
    began: Instant,
    records: Mutex<Vec<Record>>,
}

/// An entry with its time since the begin of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// For people: the order of entries decides.
    pub at: Duration,
    /// What happened.
    pub entry: Entry,
}

impl Default for History {
    /// An empty one that begins now.
    fn default() -> Self {
        Self { began: Instant::now(), records: Mutex::default() }
    }
}

impl History {
    /// Adds an entry after all others.
    pub fn add(&self, entry: Entry) {
        let mut records = self.records.lock().unwrap();
        records.push(Record { at: self.began.elapsed(), entry });
    }

    /// All entries up to now.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    /// The accepted messages of a direction that have an id, by it.
    pub fn ids(&self, direction: Direction) -> Vec<(String, Message)> {
        let records = self.records.lock().unwrap();
        let ids = records.iter().filter_map(|record| {
            let Entry::Answered(message, Answer::Accepted(_, Some(id))) = &record.entry else {
                return None;
            };
            Some((id.clone(), *message))
        });
        ids.filter(|(_, message)| message.direction == direction).collect()
    }

    /// What is to be said about the entries up to now.
    pub fn verdict(&self) -> Verdict {
        check(self.records.lock().unwrap().iter().map(|record| &record.entry))
    }
}
