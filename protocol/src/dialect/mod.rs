//! Frames and terms to bytes and back, in the dialect that both ends agreed on.

mod bincode;
mod limits;

pub use limits::{DecodeError, EncodeError, Limits};

use crate::frame::{DownFrame, UpFrame};
use crate::term::Term;

/// How frames and terms become bytes and back. Nothing else in the product knows those bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `fedecks.v1.bincode`: frames whose fields are in bincode 2's standard encoding.
    Bincode,
}

impl Dialect {
    /// Its name in the header `Sec-WebSocket-Protocol`.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Bincode => "fedecks.v1.bincode",
        }
    }

    /// The first dialect of ours in a `Sec-WebSocket-Protocol` header: names separated by commas.
    pub fn from_subprotocols(header: &str) -> Option<Self> {
        header
            .split(',')
            .map(str::trim)
            .find(|name| *name == Self::Bincode.subprotocol())
            .map(|_| Self::Bincode)
    }

    /// The bytes of a frame that a device sends.
    pub fn encode_up(self, frame: &UpFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Bincode => bincode::encode_up(frame, limits),
        }
    }

    /// The bytes of a frame that a cloud sends.
    pub fn encode_down(self, frame: &DownFrame, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Bincode => bincode::encode_down(frame, limits),
        }
    }

    /// Reads a frame that a device sent. Total: any bytes give a frame or an error, and what is
    /// held at any moment, the frame included, is at most 100 bytes for each byte of the input, and
    /// 64 KiB.
    pub fn decode_up(self, bytes: &[u8], limits: &Limits) -> Result<UpFrame, DecodeError> {
        match self {
            Self::Bincode => bincode::decode_up(bytes, limits),
        }
    }

    /// Reads a frame that a cloud sent, as totally as [`Dialect::decode_up`].
    pub fn decode_down(self, bytes: &[u8], limits: &Limits) -> Result<DownFrame, DecodeError> {
        match self {
            Self::Bincode => bincode::decode_down(bytes, limits),
        }
    }

    /// The bytes of a term alone, as the header of an upgrade holds it.
    pub fn encode_term(self, term: &Term, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Bincode => bincode::encode_term(term, limits),
        }
    }

    /// Reads a term alone, as totally as [`Dialect::decode_up`].
    pub fn decode_term(self, bytes: &[u8], limits: &Limits) -> Result<Term, DecodeError> {
        match self {
            Self::Bincode => bincode::decode_term(bytes, limits),
        }
    }
}
