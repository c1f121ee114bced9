//! The accounts that may register devices, and their trait. Passwords are hashed elsewhere.

use crate::audit::Actor;
use crate::boxed::StoreFuture;
use crate::text::{Unfit, check_line};

/// Stores accounts. Follows the [contract](crate#contract) of every store; each change is audited.
pub trait AccountStore: Send + Sync + 'static {
    /// Adds an account with the Argon2 hash of its password. Fails with
    /// [`StoreError::Exists`](crate::StoreError::Exists) if the name is taken.
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> StoreFuture<'a, ()>;

    /// Replaces the Argon2 hash of an account's password. Tokens of devices that logged in with the old one stay valid.
    /// Returns false if there is no account of that name.
    fn set_password_hash<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool>;

    /// Removes an account. Returns false if there is none of that name.
    fn remove_account<'a>(&'a self, name: &'a str, by: &'a Actor) -> StoreFuture<'a, bool>;

    /// All accounts, ordered by name.
    fn accounts(&self) -> StoreFuture<'_, Vec<Account>>;

    /// The Argon2 hash of an account's password; `None` without such an account.
    fn password_hash<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<String>>;
}

/// An account that may register devices.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct Account {
    /// The `username` of the credentials.
    pub name: String,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
}

/// A text that cannot be the name of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccountName {
    /// It is empty, too long, or has a space at either end.
    #[error(
        "an account's name has 1 to {max} characters, none of them a control character, and no space at \
         either end",
        max = MAX_NAME_CHARS
    )]
    Form,
    /// It contains a character that controls what shows it.
    #[error(
        "an account name has no control characters and no marks of direction, but character {position} is \
         U+{:04X}",
        u32::from(*character)
    )]
    Character {
        /// Its position, counted from 1.
        position: usize,
        /// The character itself.
        character: char,
    },
}

const MAX_NAME_CHARS: usize = 128;

/// Checks the name of an account.
pub fn check_account_name(name: &str) -> Result<(), InvalidAccountName> {
    check_line(name, MAX_NAME_CHARS).map_err(|unfit| match unfit {
        Unfit::Form => InvalidAccountName::Form,
        Unfit::Character(position, character) => {
            InvalidAccountName::Character { position, character }
        }
    })
}
