//! Why a cloud could not be built.

/// Why a [`Fedecks`](crate::Fedecks) could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The keyring, which seals and opens tokens, is missing.
    #[error("no keyring: call Builder::keyring")]
    NoKeyring,
    /// The denylist, which knows revoked tokens and blocked devices, is missing.
    #[error("no denylist: call Builder::denylist")]
    NoDenylist,
    /// An option has an invalid value.
    #[error("invalid option {option}: expected {expected}")]
    Option {
        /// The name of the option.
        option: &'static str,
        /// What was expected.
        expected: &'static str,
    },
}
