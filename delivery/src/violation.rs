//! What the other end may not do. The connection is closed with 1002.

/// A frame that breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It names a stream that was not announced on this connection.
    #[error("a frame of stream {handle}, which was not announced on this connection")]
    UnknownStream {
        /// The stream.
        handle: u64,
    },
    /// The stream was announced twice or in another lane, or two streams have the same handle.
    #[error("stream {handle} was announced twice")]
    AnnouncedTwice {
        /// The stream.
        handle: u64,
    },
    /// More streams than an end may have open.
    #[error("more than {limit} streams of a lane are announced")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
    /// Numbers that cannot be: 0, or the last one before the first.
    #[error("numbers {from} to {to} of stream {handle}")]
    BadNumbers {
        /// The stream.
        handle: u64,
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// Numbers are missing or repeated.
    #[error("number {found} of stream {handle}, expected {expected}")]
    OutOfOrder {
        /// The stream.
        handle: u64,
        /// The number that is next.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A message was sent without credit.
    #[error("number {sequence} of stream {handle} exceeds the credit, which ends at {credit_to}")]
    OverCredit {
        /// The stream.
        handle: u64,
        /// The number.
        sequence: u64,
        /// The last number that may be sent.
        credit_to: u64,
    },
    /// More bytes are unacknowledged than may be.
    #[error("more than {limit} bytes of stream {handle} are unacknowledged")]
    TooManyBytes {
        /// The stream.
        handle: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// What was never sent was acknowledged, or an acknowledgement went back.
    #[error("an acknowledgement of {up_to} in stream {handle}, expected {from} to {to}")]
    BadAck {
        /// The stream.
        handle: u64,
        /// The acknowledged number.
        up_to: u64,
        /// The lowest number that can be acknowledged.
        from: u64,
        /// The highest number that can be acknowledged.
        to: u64,
    },
}
