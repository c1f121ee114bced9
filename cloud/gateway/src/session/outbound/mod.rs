//! The kept messages for the device of a session: from the store to what is acknowledged. It decides, and does no I/O.

mod calls;
mod lane;
mod memory;
mod next;
#[cfg(test)]
mod tests;

use fedecks_delivery::Violation;
use fedecks_protocol::{Ack, Lane};

pub(super) use self::calls::Caller;
pub(super) use self::lane::OutboundLane;
pub(super) use self::next::{Called, Fetched};

/// Exists from the first connection's look into the store, unless nothing waits there.
pub(super) struct Outbound {
    /// The urgent one in front.
    pub(super) lanes: [OutboundLane; 2],
    last_handle: u64,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self { lanes: Lane::ALL.map(OutboundLane::new), last_handle: 0 }
    }

    /// There may be something in the store. `is_woken` says that something was queued just now.
    pub(super) fn look(&mut self, is_woken: bool) {
        self.lanes.iter_mut().for_each(|lane| lane.look(is_woken));
    }

    /// Whether nothing is in progress, and no stream was announced, whose handle would have to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        self.last_handle == 0 && self.lanes.iter().all(OutboundLane::is_idle)
    }

    /// A handle that was not used yet.
    pub(super) fn unused_handle(&self) -> u64 {
        self.last_handle + 1
    }

    /// The one that is next.
    pub(super) fn set_unused_handle(&mut self, handle: u64) {
        self.last_handle = handle - 1;
    }

    pub(super) fn on_ack(&mut self, ack: Ack) -> Result<(), Violation> {
        match self.lane_of(ack.handle)? {
            Some(lane) => lane.on_ack(ack),
            None => Ok(()),
        }
    }

    pub(super) fn on_rewind(&mut self, handle: u64, to: u64) -> Result<(), Violation> {
        match self.lane_of(handle)? {
            Some(lane) => lane.on_rewind(handle, to),
            None => Ok(()),
        }
    }

    /// `None` for a stream that was numbered again, about which the device did not know.
    fn lane_of(&mut self, handle: u64) -> Result<Option<&mut OutboundLane>, Violation> {
        if !(1..=self.last_handle).contains(&handle) {
            return Err(Violation::UnknownStream { handle });
        }
        Ok(self.lanes.iter_mut().find(|lane| lane.handle() == handle))
    }
}
