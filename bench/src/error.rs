//! The error of the whole program: a measurement either is clean or is none, every error ends it.

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;
