//! A place in a stream.

use fedecks_protocol::Tag;

/// How far a receiver is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The last number that it is done with.
    pub up_to: u64,
    /// The tag of that message; 0 if the number carried none.
    pub tag: Tag,
}
