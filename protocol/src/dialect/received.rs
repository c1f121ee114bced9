//! A frame as a device receives it: the term of a message waits encoded.

use crate::encoded_term::EncodedTerm;
use crate::frame::DownFrame;

/// A frame from a cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// A message, whose term is not decoded yet.
    Message(EncodedTerm),
    /// Any other frame.
    Frame(DownFrame),
}
