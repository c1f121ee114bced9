//! Kept messages from the cloud: what the application gets, and where this end is in their streams.

use fedecks_protocol::{Content, InstallationId, Lane, StreamId, Tag};

/// Identifies a message that was handed to the application; chosen by the core, and not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey(pub u64);

/// A kept message for the application. It waits encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptDelivery {
    /// To be repeated in `handle_acknowledge`.
    pub key: DeliveryKey,
    /// The id of the message.
    pub id: Tag,
    /// Its lane.
    pub lane: Lane,
    /// The application may have got it before.
    pub redelivered: bool,
    /// When the cloud accepted it, in milliseconds since 1970-01-01 UTC, if that clock was plausible.
    pub sent_at_ms: Option<u64>,
    /// The content.
    pub content: Content,
}

/// How far this end is in the streams of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// The cloud.
    pub installation: InstallationId,
    /// The positions, at most [`Positions::MAX`].
    pub streams: Vec<StreamPosition>,
}

/// How far this end is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPosition {
    /// The stream.
    pub stream: StreamId,
    /// Its lane.
    pub lane: Lane,
    /// The last number that this end is done with.
    pub up_to: u64,
    /// The tag of that message; 0 if the number carried none.
    pub tag: Tag,
}

/// The kept messages from the cloud that wait for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InboxStatus {
    /// The number of messages that were handed over and are not acknowledged.
    pub messages: u64,
    /// The bytes of their content.
    pub bytes: u64,
}

impl Positions {
    /// The most positions: those of all streams that both lanes may have.
    pub const MAX: usize = Lane::ALL.len() * fedecks_delivery::MAX_STREAMS;
}
