//! The requests in progress of a session, and what its device understands.

use fedecks_delivery::Requests;
use fedecks_protocol::Capabilities;
use tokio::time::Instant;

use crate::connection::ask::{Ask, Reply};

/// The requests in progress. A session has this only while there is something.
pub(super) struct Asked {
    pub(super) requests: Requests,
    pub(super) replies: Vec<(u64, Reply)>,
    /// Key of the last request of the hub.
    pub(super) last: u64,
    /// The device has not said yet what it understands: these wait for that.
    pub(super) waiting: Vec<(Instant, Ask)>,
}

/// What a device understands, of what a session wants to know. Every session has one, so it is a byte.
#[derive(Clone, Copy)]
pub(super) struct Known(u8);

impl Known {
    pub(super) fn of(capabilities: Capabilities) -> Self {
        let bit = |of, bit| if capabilities.contains(of) { bit } else { 0 };
        let requests = bit(Capabilities::REQUESTS, 2);
        Self(bit(Capabilities::KEEP_ALIVE, 1) | requests | bit(Capabilities::KEPT_MESSAGES, 4))
    }

    pub(super) fn keep_alive(self) -> bool {
        self.0 & 1 != 0
    }

    pub(super) fn requests(self) -> bool {
        self.0 & 2 != 0
    }
    pub(super) fn kept_messages(self) -> bool {
        self.0 & 4 != 0
    }
}
