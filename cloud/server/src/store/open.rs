//! An open store, in a file or in a database: its calls are those of [`Store`].

use std::ops::Deref;

#[cfg(feature = "postgres")]
use fedecks_store::PostgresStore;
use fedecks_store::{NodeStore, SqliteStore, Store};

/// An open store.
pub(crate) enum OpenStore {
    File(Box<SqliteStore>),
    #[cfg(feature = "postgres")]
    Database(PostgresStore),
}

impl Deref for OpenStore {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::File(store) => &**store,
            #[cfg(feature = "postgres")]
            Self::Database(store) => store,
        }
    }
}

impl OpenStore {
    /// The servers of a database.
    pub(crate) fn nodes(&self) -> Option<&dyn NodeStore> {
        match self {
            Self::File(_) => None,
            #[cfg(feature = "postgres")]
            Self::Database(store) => Some(store),
        }
    }

    /// Writes its notes, and waits for that.
    pub(crate) async fn close(self) {
        match self {
            Self::File(store) => drop(store),
            #[cfg(feature = "postgres")]
            Self::Database(store) => store.close().await,
        }
    }
}
