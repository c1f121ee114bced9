//! Why a store did not do what was asked.

/// Why a store did not do what was asked. Everything but [`StoreError::Exists`] and
/// [`StoreError::TooMany`] may go well later.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is one of that name.
    #[error("the {what} {name:?} exists already")]
    Exists {
        /// What there is one of: `account`, `API token`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There are as many as there may be.
    #[error("there are {most} of {what} already, which is as many as there may be")]
    TooMany {
        /// What there are too many of: `the API tokens`.
        what: &'static str,
        /// How many there may be.
        most: u32,
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
    /// More was asked than the store gets done, or somebody else holds it. What was asked may still
    /// be done.
    #[error("the store {location} is busy and did not answer in time")]
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
