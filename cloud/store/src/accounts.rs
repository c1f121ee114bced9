//! The accounts that may register devices.

use crate::audit::Actor;
use crate::boxed::BoxFuture;
use crate::error::StoreError;
use crate::text::is_one_line;

/// Keeps accounts by the [contract](crate#contract) of every store, and audits each change.
pub trait AccountStore: Send + Sync + 'static {
    /// Adds an account with the Argon2 hash of its password. Fails with [`StoreError::Exists`] where
    /// there is one of that name.
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes an account; whether there was one.
    fn remove_account<'a>(
        &'a self,
        name: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// All accounts, ordered by name.
    fn accounts(&self) -> BoxFuture<'_, Result<Vec<Account>, StoreError>>;

    /// The Argon2 hash of an account's password, if there is such an account.
    fn password_hash<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>>;
}

/// An account that may register devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, as in the credentials' `username`.
    pub name: String,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
}

/// Why a text is no account's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account's name has 1 to {max} characters, none of them a control character, and no space at \
     either end",
    max = MAX_NAME_CHARS
)]
pub struct InvalidAccountName;

const MAX_NAME_CHARS: usize = 128;

/// Whether an account may be called so.
pub fn check_account_name(name: &str) -> Result<(), InvalidAccountName> {
    if is_one_line(name, MAX_NAME_CHARS) { Ok(()) } else { Err(InvalidAccountName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_can_be_shown_on_one_line() {
        for name in ["marvin", "Zaphod Beeblebrox", "fleet@example.com", &"é".repeat(128)] {
            assert_eq!(check_account_name(name), Ok(()), "{name:?}");
        }
        for name in ["", " marvin", "marvin\n", "mar\tvin", &"é".repeat(129)] {
            assert_eq!(check_account_name(name), Err(InvalidAccountName), "{name:?}");
        }
    }
}
