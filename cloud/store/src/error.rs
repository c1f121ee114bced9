//! The errors of a store.

/// Why a call failed. All but [`StoreError::Exists`] and [`StoreError::TooMany`] may succeed later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The name is taken.
    #[error("the {what} {name:?} already exists")]
    Exists {
        /// `account`, `claim`, `API token` or `store`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The maximum number of them is reached.
    #[error("there are already {max} {what}, which is the maximum")]
    TooMany {
        /// `API tokens`.
        what: &'static str,
        /// The largest number.
        max: u32,
    },
    /// There is no file.
    #[error("no store at {location}")]
    Missing {
        /// Where it should be.
        location: String,
    },
    /// A file without content, or a database without tables. A new store never is one: it appears complete.
    #[error("the store {location} is empty")]
    Empty {
        /// Which store.
        location: String,
    },
    /// The store was written by a newer version of this program.
    #[error(
        "the store {location} has version {found}, but this program supports versions up to {known}: \
         use the newer program that wrote it"
    )]
    Newer {
        /// Which store.
        location: String,
        /// The version found.
        found: i64,
        /// The newest supported version.
        known: i64,
    },
    /// It is another program's database.
    #[error("{location} is another program's database, not a Fedecks store")]
    Foreign {
        /// Which file or database.
        location: String,
    },
    /// The content of the file was moved to a database, and the file is kept as it was then.
    #[error(
        "the store {location} was moved to the database {database} and is not used any more: set `store` to that \
         database. `fedecks-cloud migrate --undo-retirement` makes the file a store again, without anything that \
         has changed since"
    )]
    Retired {
        /// Which file.
        location: String,
        /// The database, without a password.
        database: String,
    },
    /// Another server has opened the store, in this process or another one.
    #[error("the store {location} is in use by another server")]
    InUse {
        /// Which store.
        location: String,
    },
    /// Too many calls are queued, or another process has locked the store. A change may still be made.
    #[error("the store {location} is busy and did not answer in time")]
    Busy {
        /// Which store.
        location: String,
    },
    /// The lease by which this server may write has ended, or was not renewed in time: another server may serve now.
    /// The change was not made.
    #[error("this server has no lease on the store {location} at the moment, and writes nothing")]
    NoLease {
        /// Which store.
        location: String,
    },
    /// The store is closed.
    #[error("the store {location} is closed")]
    Closed {
        /// Which store.
        location: String,
    },
    /// The database or its disk failed.
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

impl StoreError {
    /// A [`StoreError::Failed`].
    pub fn failed(
        location: &str,
        action: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { location: location.to_owned(), action, source: source.into() }
    }
}
