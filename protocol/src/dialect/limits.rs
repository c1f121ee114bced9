//! Size and depth limits of frames, and the errors of encoding and decoding.

/// Limits on what is encoded or decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame, in bytes; capped at [`Limits::MAX_SIZE`].
    pub max_size: usize,
    /// The deepest term: a number has depth 1, a list of numbers depth 2. Capped at
    /// [`Limits::MAX_DEPTH`].
    pub max_depth: u16,
}

impl Limits {
    /// The largest frame that any dialect reads or writes, whatever is configured, in bytes.
    pub const MAX_SIZE: usize = 64 * 1024 * 1024;

    /// The deepest term that any dialect reads or writes; it bounds the use of the stack.
    pub const MAX_DEPTH: u16 = 128;
}

impl Default for Limits {
    /// 1 MiB and 64 levels.
    fn default() -> Self {
        Self { max_size: 1024 * 1024, max_depth: 64 }
    }
}

/// Why a frame or a term cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is larger than the limit.
    #[error("{size} bytes exceed the limit of {limit}")]
    TooBig {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The term is nested deeper than the limit.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit, in levels.
        limit: u16,
    },
    /// An `Unknown` frame: it represents something received and cannot be sent.
    #[error("a frame of an unknown kind cannot be sent")]
    UnknownFrame,
}

/// Why bytes cannot be decoded as a frame or a term.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input is longer than the limit.
    #[error("{size} bytes exceed the limit of {limit}")]
    TooBig {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The term is nested deeper than the limit.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit, in levels.
        limit: u16,
    },
    /// The input ends in the middle of a value.
    #[error("the input ends in the middle of a value")]
    Truncated,
    /// The input continues after the value.
    #[error("{0} trailing bytes")]
    Trailing(usize),
    /// A term has an unknown tag.
    #[error("unknown term tag {0}")]
    UnknownTerm(u8),
    /// Anything else that the dialect does not allow.
    #[error("{0}")]
    Malformed(&'static str),
}
