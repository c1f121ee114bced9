//! The history of a fleet on several servers, besides the histories of its devices' messages: revocations, sessions that
//! are superseded, presence, webhooks and event streams. `check` says which rules it breaks.

mod check;
mod entry;
mod finding;
mod messages;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use self::check::check;
pub use self::entry::{Device, FleetEntry, FleetRecord, Node};
pub use self::finding::FleetFinding;

/// Collects entries from all parts of a trial.
#[derive(Debug)]
pub struct FleetHistory {
    began: Instant,
    records: Mutex<Vec<FleetRecord>>,
}

impl Default for FleetHistory {
    /// An empty one that begins now.
    fn default() -> Self {
        Self { began: Instant::now(), records: Mutex::default() }
    }
}

impl FleetHistory {
    /// The time since its begin.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Adds an entry after all others.
    pub fn add(&self, entry: FleetEntry) {
        let mut records = self.records.lock().unwrap();
        records.push(FleetRecord { at: self.began.elapsed(), entry });
    }

    /// All entries up to now.
    pub fn records(&self) -> Vec<FleetRecord> {
        self.records.lock().unwrap().clone()
    }

    /// The rules that the entries up to now break.
    pub fn findings(&self) -> Vec<FleetFinding> {
        check(&self.records.lock().unwrap())
    }
}
