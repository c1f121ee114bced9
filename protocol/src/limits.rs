//! Limits of frames on the wire and in memory, and the errors of encoding and decoding.

/// Limits on what is encoded or decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame, in bytes; capped at [`Limits::MAX_SIZE`].
    pub max_size: usize,
    /// The deepest term: a number has depth 1, a list of numbers depth 2. Capped at
    /// [`Limits::MAX_DEPTH`].
    pub max_depth: u16,
    /// The most that a decoded term may take in memory, in bytes, as [`Term::weight`](crate::Term::weight)
    /// has it. A decoder allocates no more than this at any moment.
    pub max_decoded: usize,
}

impl Limits {
    /// The largest frame that any dialect reads or writes, whatever is configured, in bytes.
    pub const MAX_SIZE: usize = 64 * 1024 * 1024;

    /// The deepest term that any dialect reads or writes; it bounds the use of the stack.
    pub const MAX_DEPTH: u16 = 128;

    /// The highest number in a stream of kept messages. The ends can count beyond it, and every database can store
    /// it.
    pub const MAX_NUMBER: u64 = i64::MAX.unsigned_abs();

    /// What a device decodes by default, in bytes of memory: 4 MiB. Clouds send nothing heavier.
    pub const DEVICE_DECODED: usize = 4 * 1024 * 1024;

    /// What a cloud decodes by default, in bytes of memory: 16 MiB. Devices send nothing heavier.
    pub const CLOUD_DECODED: usize = 16 * 1024 * 1024;
}

impl Default for Limits {
    /// Those of a device: 1 MiB, 64 levels, and 4 MiB in memory.
    fn default() -> Self {
        Self { max_size: 1024 * 1024, max_depth: 64, max_decoded: Self::DEVICE_DECODED }
    }
}

/// Why a frame or a term cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    /// The term takes more memory than the other end decodes.
    #[error("the value takes {weight} bytes in memory when decoded, the limit is {limit}")]
    TooHeavy {
        /// Its weight, in bytes.
        weight: usize,
        /// The limit, in bytes.
        limit: usize,
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
    /// The term takes more memory than the limit; nothing was allocated beyond it.
    #[error("the value takes at least {weight} bytes in memory, the limit is {limit}")]
    TooHeavy {
        /// What it weighs at least, in bytes.
        weight: usize,
        /// The limit, in bytes.
        limit: usize,
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

/// What a value that is being decoded has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// The limit of its weight in memory.
    #[error("the value takes at least {weight} bytes in memory, the limit is {limit}")]
    TooHeavy {
        /// What it weighs at least, in bytes.
        weight: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The limit of its nesting.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit, in levels.
        limit: u16,
    },
}

impl From<OverBudget> for DecodeError {
    fn from(over: OverBudget) -> Self {
        match over {
            OverBudget::TooHeavy { weight, limit } => Self::TooHeavy { weight, limit },
            OverBudget::TooDeep { limit } => Self::TooDeep { limit },
        }
    }
}
