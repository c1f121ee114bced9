//! The place of a consumer in the message log: how it moves, and what is counted as missed. For every store.

use crate::consumers::{ConsumerDevices, ConsumerRecord};
use crate::messages::LogStatus;

/// How old `used_at` may be, in seconds, before reading alone writes it.
const USED_AT_STEP: u64 = 60;

/// A consumer, as a store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerPlace {
    /// Without what is pending.
    pub(crate) record: ConsumerRecord,
    /// How many messages it missed that it may not know of yet.
    pub(crate) pending: u64,
}

impl ConsumerPlace {
    /// A consumer that is done with the messages up to `after`, or else with none.
    pub(crate) fn new(
        name: String,
        devices: ConsumerDevices,
        after: Option<u64>,
        used_at: u64,
        log: LogStatus,
    ) -> Self {
        let place = after.unwrap_or(log.first - 1);
        let record = ConsumerRecord { name, devices, place, missed: 0, used_at };
        Self { record, pending: 0 }
    }

    /// It reads, and is done with the messages up to `after`. Returns whether that is worth writing.
    pub(crate) fn read(&mut self, after: Option<u64>, at: u64) -> bool {
        let before = self.clone();
        if let Some(after) = after {
            self.acknowledge(after);
        }
        let used_at = before.record.used_at;
        let is_new = *self != before || !(used_at..used_at + USED_AT_STEP).contains(&at);
        if is_new {
            self.record.used_at = at;
        }
        is_new
    }

    /// It is done with the messages up to this number, and has learned what it missed before it.
    pub(crate) fn acknowledge(&mut self, to: u64) {
        if to >= self.record.place {
            self.record.place = to;
            self.record.missed += std::mem::take(&mut self.pending);
        }
    }

    /// Moves over what has left the log. Returns whether something has.
    pub(crate) fn pass_over_missed(&mut self, log: LogStatus) -> bool {
        let unread = self.left_unread(log);
        self.pending += unread;
        self.record.place += unread;
        unread > 0
    }

    /// The record, with all that it missed.
    pub(crate) fn into_record(self, log: LogStatus) -> ConsumerRecord {
        let missed = self.record.missed + self.pending + self.left_unread(log);
        ConsumerRecord { missed, ..self.record }
    }

    /// How many messages after its place have left the log.
    fn left_unread(&self, log: LogStatus) -> u64 {
        (log.first - 1).saturating_sub(self.record.place)
    }
}
