//! New messages wait until those of earlier starts are sent, but not for a disk that fails.

use std::time::Duration;

use fedecks_delivery::Sender;
use fedecks_protocol::{Content, Lane};

use super::DiskQueue;
use crate::time::Time;

/// A job that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl DiskQueue {
    /// Holds back the lanes of which older messages are still on disk, or may be.
    pub(super) fn hold(&mut self, now: Time, sender: &mut Sender<Content>) {
        if self.is_running {
            self.running_since.get_or_insert(now);
        }
        let has_failed = self.error.is_some() || self.load_error.is_some();
        let is_late = self.running_since.is_some_and(|since| since + PATIENCE <= now);
        let waits = !has_failed && !is_late && self.last_jobs.is_none();
        for lane in Lane::ALL {
            let is_older = !self.is_open || self.later.iter().any(|found| found.lane == lane);
            sender.hold(lane, waits && is_older);
        }
    }

    /// Until when something may be held back.
    pub(super) fn held_until(&self) -> Option<Time> {
        self.running_since.map(|since| since + PATIENCE)
    }
}
