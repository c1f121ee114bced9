//! How big and how deep a frame may be, and the errors of encoding and decoding.

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
