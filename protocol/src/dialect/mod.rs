//! Encodes and decodes frames and terms in the dialect that both ends agreed on.

mod bincode;
mod received;

pub use received::Received;

use crate::delivery::Kept;
use crate::encoded_term::EncodedTerm;
use crate::frame::{DownFrame, UpFrame};
use crate::limits::{DecodeError, EncodeError, Limits};
use crate::request::UndecodableContent;
use crate::term::Term;

/// The encoding of frames and terms. Nothing else in the product knows their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `fedecks.v1.bincode`: fields in bincode 2's standard encoding.
    Bincode,
}

impl Dialect {
    /// Its name in the header `Sec-WebSocket-Protocol`.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Bincode => "fedecks.v1.bincode",
        }
    }

    /// The first known dialect in a `Sec-WebSocket-Protocol` header, a comma-separated list of names.
    pub fn from_subprotocols(header: &str) -> Option<Self> {
        let is_it = |name: &str| name.trim() == Self::Bincode.subprotocol();
        // Nearly always it is the only one.
        (is_it(header) || header.split(',').any(is_it)).then_some(Self::Bincode)
    }

    /// Encodes a frame from a device.
    pub fn encode_up(self, frame: &UpFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Bincode => bincode::encode_up(frame, limits),
        }
    }

    /// Encodes a frame from a cloud.
    pub fn encode_down(self, frame: &DownFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Bincode => bincode::encode_down(frame, limits),
        }
    }

    /// Decodes a frame from a device. Any input yields a frame or an error. The memory used, including the
    /// frame, exceeds neither [`Limits::max_decoded`] nor 32 bytes per byte of input, at any moment: what a
    /// term will take is compared with both before it is allocated.
    pub fn decode_up(self, bytes: &[u8], limits: &Limits) -> Result<UpFrame, DecodeError> {
        match self {
            Self::Bincode => bincode::decode_up(bytes, limits),
        }
    }

    /// Decodes a frame from a cloud, with the guarantees of [`Dialect::decode_up`].
    pub fn decode_down(self, bytes: &[u8], limits: &Limits) -> Result<DownFrame, DecodeError> {
        match self {
            Self::Bincode => bincode::decode_down(bytes, limits),
        }
    }

    /// Decodes a frame from a cloud like [`Dialect::decode_down`], except that the term of a message is
    /// checked completely and kept encoded, which takes much less memory while it waits.
    pub fn receive_down(self, bytes: &[u8], limits: &Limits) -> Result<Received, DecodeError> {
        match self {
            Self::Bincode => bincode::receive_down(bytes, limits),
        }
    }

    /// A kept message whose content cannot be decoded, without it: what is needed to reject it. `None` for any other
    /// frame, and if not even that can be decoded.
    pub fn kept_without_content(self, bytes: &[u8], limits: &Limits) -> Option<Kept> {
        match self {
            Self::Bincode => bincode::kept_without_content(bytes, limits),
        }
    }

    /// A request or a reply whose content cannot be decoded. `None` for any other frame, and if not even that can be
    /// decoded. To be called for bytes that cannot be decoded.
    pub fn undecodable_request(self, bytes: &[u8], limits: &Limits) -> Option<UndecodableContent> {
        match self {
            Self::Bincode => bincode::undecodable_request(bytes, limits),
        }
    }

    /// Encodes a term to keep it, which checks it like [`Dialect::encode_up`].
    pub fn keep_term(self, term: &Term, limits: &Limits) -> Result<EncodedTerm, EncodeError> {
        match self {
            Self::Bincode => bincode::keep_term(term, limits),
        }
    }

    /// Checks the bytes of a kept term like [`Dialect::decode_up`], without decoding it.
    pub fn check_term(self, bytes: &[u8], limits: &Limits) -> Result<EncodedTerm, DecodeError> {
        match self {
            Self::Bincode => bincode::check_term(bytes, limits),
        }
    }

    /// Encodes a term on its own, as in the header of an upgrade request.
    pub fn encode_term(self, term: &Term, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Bincode => bincode::encode_term(term, limits),
        }
    }

    /// Decodes a term on its own that is a map of two texts with texts as keys, without allocating anything; `None` for
    /// any other term.
    pub(crate) fn decode_two_texts(self, bytes: &[u8]) -> Option<[(&str, &str); 2]> {
        match self {
            Self::Bincode => bincode::decode_two_texts(bytes),
        }
    }

    /// Decodes a term on its own, with the guarantees of [`Dialect::decode_up`].
    pub fn decode_term(self, bytes: &[u8], limits: &Limits) -> Result<Term, DecodeError> {
        match self {
            Self::Bincode => bincode::decode_term(bytes, limits),
        }
    }
}
