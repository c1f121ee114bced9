//! Why a value cannot be transferred over D-Bus.

/// Why a term cannot be represented on D-Bus, or a D-Bus value as a term.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariantError {
    /// D-Bus allows 64 levels in a message, and most values take two or three of them.
    #[error(
        "the value is too deeply nested for D-Bus, which allows 64 levels of containers and variants"
    )]
    TooDeep,
    /// The value takes more bytes than are allowed.
    #[error("the value is too big: at most {max} bytes are allowed")]
    TooBig {
        /// The maximum, in bytes.
        max: usize,
    },
    /// The value takes more memory than is allowed when it is converted.
    #[error(
        "the value is too big: it takes at least {weight} bytes in memory, {limit} are allowed"
    )]
    TooHeavy {
        /// What it takes at least, in bytes.
        weight: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A dict's key is not a string, contains a NUL or is duplicate.
    #[error("invalid key: {0}; keys must be distinct strings without NUL")]
    Key(String),
    /// A file descriptor.
    #[error("a file descriptor cannot be sent to the cloud")]
    FileDescriptor,
    /// An escape with an unknown path or an invalid content.
    #[error("the structure (ov) with the path {0} is an unknown escape or has invalid content")]
    Escape(String),
}
