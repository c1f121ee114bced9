//! Why a cloud could not be put together.

/// Why a [`Fedecks`](crate::Fedecks) could not be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to seal tokens with.
    #[error("no keyring, expected one by Builder::keyring")]
    NoKeyring,
    /// There is nothing that knows which tokens were revoked and which devices are blocked.
    #[error("no denylist, expected one by Builder::denylist")]
    NoDenylist,
    /// An option has a value that cannot work.
    #[error("the option {option}: {expected}")]
    Option {
        /// Which.
        option: &'static str,
        /// What was expected.
        expected: &'static str,
    },
}
