//! The limits that both ends keep.

/// How much may be unacknowledged in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credit {
    /// The number of messages.
    pub messages: u64,
    /// Their bytes. One message may be bigger.
    pub bytes: u64,
}

impl Credit {
    /// Before the first acknowledgement of a new stream.
    pub const INITIAL: Self = Self { messages: 8, bytes: 32 * 1024 };

    /// The most that a receiver grants.
    pub const MAX: Self = Self { messages: 64, bytes: 256 * 1024 };
}

/// The most streams that an end has open in a lane.
pub const MAX_STREAMS: usize = 8;
