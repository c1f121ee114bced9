#[cfg(test)]
pub(crate) mod conformance;
mod sqlite;

use std::pin::Pin;

use fedecks_protocol::DeviceId;

pub use sqlite::SqliteStore;

/// A future in a box, which is what a trait behind `dyn` can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What outlives the server: accounts, devices and revocations.
///
/// Every method but [`Store::seen`] answers when the change is on disk. Dropping a future gives up
/// the answer, not the change.
pub trait Store: Send + Sync + 'static {
    /// Adds an account with the Argon2 hash of its password. Fails with [`StoreError::Exists`] where
    /// there is one of that name.
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes an account; whether there was one.
    fn remove_account<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// All accounts, ordered by name.
    fn accounts(&self) -> BoxFuture<'_, Result<Vec<Account>, StoreError>>;

    /// The Argon2 hash of an account's password, if there is such an account.
    fn password_hash<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>>;

    /// Notes that a device was connected `at` (seconds since 1970-01-01 UTC). Never waits: the notes
    /// of about a second are written together, and where the store cannot keep up they are dropped
    /// and counted.
    fn seen(&self, device: &DeviceId, at: u64);

    /// All devices that were ever seen or revoked, ordered by id.
    fn devices(&self) -> BoxFuture<'_, Result<Vec<DeviceRecord>, StoreError>>;

    /// One device, if it was ever seen or revoked.
    fn device<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<DeviceRecord>, StoreError>>;

    /// Makes every token that the device has worthless and returns the new generation. A device that
    /// was never seen can be revoked too.
    fn revoke<'a>(&'a self, device: &'a DeviceId) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// The revocations that came after `change`, whichever process made them, oldest first; all of
    /// them after 0. A device stands there once, with its latest.
    fn revocations_after(&self, change: u64) -> BoxFuture<'_, Result<Vec<Revocation>, StoreError>>;
}

/// An account that may register devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, as in the credentials' `username`.
    pub name: String,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
}

/// What the store knows of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Which device.
    pub id: DeviceId,
    /// When it was seen first, in seconds since 1970-01-01 UTC; `None` if never.
    pub first_seen: Option<u64>,
    /// When it was seen last, in seconds since 1970-01-01 UTC; `None` if never.
    pub last_seen: Option<u64>,
    /// How often its tokens were revoked.
    pub generation: u64,
}

/// A device's latest revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which device.
    pub device: DeviceId,
    /// The generation from which on its tokens are good.
    pub generation: u64,
    /// Its place among all revocations of the store, counted from 1.
    pub change: u64,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is an account of that name.
    #[error("the account {name:?} exists already")]
    Exists {
        /// The account's name.
        name: String,
    },
    /// The store was written by a newer version of this program.
    #[error(
        "the store {location} has version {found}, this program knows versions up to {known}: \
         use the newer program that wrote it"
    )]
    Newer {
        /// Which store.
        location: String,
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The file is a database of some other program.
    #[error("{location} is a database of another program, expected a store of Fedecks")]
    Foreign {
        /// Which file.
        location: String,
    },
    /// More was asked than the store gets done; ask again later.
    #[error("the store {location} cannot keep up")]
    Busy {
        /// Which store.
        location: String,
    },
    /// The store is closed.
    #[error("the store {location} is closed")]
    Closed {
        /// Which store.
        location: String,
    },
    /// What the store is kept on failed.
    #[error("cannot {action} the store {location}: {source}")]
    Failed {
        /// Which store.
        location: String,
        /// What was tried: `open`, `read`, `write`.
        action: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
