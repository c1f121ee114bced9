//! Why a cloud could not be built.

use fedecks_store::StoreError;

/// Why a [`Fedecks`](crate::Fedecks) could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The revoked and blocked devices could not be read from the store.
    #[error("cannot read the revoked and blocked devices: {0}")]
    Store(#[from] StoreError),
    /// An option has an invalid value.
    #[error("invalid option {option}: expected {expected}")]
    Option {
        /// The name of the option.
        option: &'static str,
        /// What was expected.
        expected: &'static str,
    },
}
