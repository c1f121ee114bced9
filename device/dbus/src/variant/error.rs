//! Why a value cannot cross the bus.

/// Why a term has no form on D-Bus, or a D-Bus value is no term.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariantError {
    /// D-Bus allows 64 levels in a message, and most values take two or three of them.
    #[error("the value is too deep for D-Bus, which allows 64 levels of containers and variants")]
    TooDeep,
    /// It takes more bytes than are allowed.
    #[error("the value is too big: at most {max} bytes are allowed")]
    TooBig {
        /// How many are allowed.
        max: usize,
    },
    /// A dict's key is not a text, has a NUL or stands twice.
    #[error("the keys are distinct texts without a NUL: {0} is not")]
    Key(String),
    /// A file descriptor.
    #[error("a file descriptor cannot be sent to the cloud")]
    FileDescriptor,
    /// An escape whose path or content is none of those that exist.
    #[error(
        "the structure (ov) with the path {0} is no escape that is known, or has another content"
    )]
    Escape(String),
}
