//! A call of the store for a lane, and its result.

use fedecks_protocol::StreamId;
use fedecks_store::{Acknowledged, Acknowledgement, BoxFuture, DownRoom, DownWindow, StoreError};

use super::memory::Memory;

/// A running call.
pub(super) type Call = BoxFuture<'static, Called>;

/// The next call of the store.
pub(in crate::session) enum Next {
    /// Whether something waits.
    Peek {
        /// Because something was queued since the device has connected.
        is_woken: bool,
    },
    /// What the device is done with.
    Acknowledge(Acknowledgement),
    /// Number again what waits.
    Renumber,
    /// What follows the number, as much as there is room.
    Fetch(u64, DownRoom),
}

/// The result of a call.
pub(in crate::session) enum Called {
    Peeked(Result<Option<DownWindow>, StoreError>),
    Acknowledged(Acknowledgement, Result<Acknowledged, StoreError>),
    Renumbered(Result<StreamId, StoreError>),
    Fetched(Fetched),
    /// The memory for messages is used up.
    NoRoom,
    /// The handler has panicked, or the process ends.
    Panicked,
}

/// Messages from the store, and the memory that they take.
pub(in crate::session) struct Fetched {
    /// What they follow.
    pub(in crate::session) after: u64,
    pub(in crate::session) window: Result<Option<DownWindow>, StoreError>,
    pub(in crate::session) _memory: Memory,
}
