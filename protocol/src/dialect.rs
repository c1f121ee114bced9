mod bincode;

use crate::frame::{DownFrame, UpFrame};
use crate::term::Term;

/// How frames and terms become bytes and back. Nothing else in the product knows those bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `fedecks.v1.bincode`: frames whose fields are in bincode 2's standard encoding.
    Bincode,
}

/// Bounds of what an end encodes or decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The biggest frame, in bytes. At most [`Limits::MAX_SIZE`] is taken.
    pub max_size: usize,
    /// How deep a term may be: a number has depth 1, a list of numbers depth 2. At most
    /// [`Limits::MAX_DEPTH`] is taken.
    pub max_depth: u16,
}

impl Limits {
    /// No dialect reads or writes more than this, whatever is configured, in bytes.
    pub const MAX_SIZE: usize = 64 * 1024 * 1024;

    /// No dialect reads or writes deeper terms than this, so that the stack is bounded.
    pub const MAX_DEPTH: u16 = 128;
}

impl Default for Limits {
    /// 1 MiB and 64 levels.
    fn default() -> Self {
        Self { max_size: 1024 * 1024, max_depth: 64 }
    }
}

/// Why a frame or a term has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It would be bigger than the limit.
    #[error("takes {size} bytes, at most {limit} are allowed")]
    TooBig {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The term is deeper than the limit.
    #[error("is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit, in levels.
        limit: u16,
    },
    /// An `Unknown` frame: it stands for something received, there is nothing to send.
    #[error("a frame of an unknown kind cannot be sent")]
    UnknownFrame,
}

/// Why bytes are no frame or no term.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are more bytes than the limit.
    #[error("{size} bytes, at most {limit} are allowed")]
    TooBig {
        /// How many bytes there are.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The term is deeper than the limit.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit, in levels.
        limit: u16,
    },
    /// The bytes end in the middle.
    #[error("the bytes end in the middle of a value")]
    Truncated,
    /// There are bytes after the value.
    #[error("{0} bytes follow after the value")]
    Trailing(usize),
    /// A term begins with a byte that stands for no kind of term.
    #[error("no kind of term has the number {0}")]
    UnknownTerm(u8),
    /// Anything else that is not as the dialect writes it.
    #[error("{0}")]
    Malformed(&'static str),
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
