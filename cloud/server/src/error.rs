//! Why the server did not start, or stopped early. Errors of single commands are in `cli/error.rs`.

use std::io;
use std::path::PathBuf;

use fedecks_cloud::BuildError;
use fedecks_cloud::serve::{ServeError, TlsError};
use fedecks_store::{FloorFileError, StoreError};

use crate::config::ConfigError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("configuration: {0}")]
    Build(#[from] BuildError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{0}: if its volume is not mounted, mount it; if it is lost, restore a backup with `fedecks-cloud \
         restore FILE`. For a new installation `fedecks-cloud store init` creates an empty store, which \
         would let in every device that was revoked or blocked"
    )]
    NoStore(StoreError),
    #[error(
        "{0}: if `store` names the wrong database, name the right one; if its tables are lost, restore a dump with \
         pg_restore. For a new installation `fedecks-cloud store init` makes empty tables, which would let in every \
         device that was revoked or blocked"
    )]
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "there is no database"))]
    EmptyDatabase(StoreError),
    #[error("{0}, and did not become free: stop that server, or give this one another store")]
    StoreInUse(StoreError),
    #[error(
        "{} is locked by another server with the same `data_dir`, and did not become free: stop that server, or give \
         this one another `data_dir`",
        .0.display()
    )]
    DataDirInUse(PathBuf),
    #[error(
        "this server has lost the lease of the database, and stopped: another server may serve"
    )]
    LeaseLost,
    #[error("{0}")]
    #[cfg_attr(not(feature = "cluster"), allow(dead_code, reason = "there are no other servers"))]
    Nats(String),
    #[error(
        "this server was asked to end by `fedecks-cloud node drain`, and has: it is not started again by itself"
    )]
    Drained,
    #[error(transparent)]
    Floor(#[from] FloorFileError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot create a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("stopped immediately by a second signal, {0}: open connections were cut off")]
    StoppedAtOnce(&'static str),
    #[error("cannot {action}: {source}")]
    Io { action: String, source: io::Error },
}

impl ServerError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        |source| Self::Io { action, source }
    }

    /// Only an operator can help.
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::Build(_)
            | Self::Tls(_)
            | Self::NoStore(_)
            | Self::Store(StoreError::Retired { .. })
            | Self::EmptyDatabase(_) => true,
            Self::Serve(ServeError::Listen { source, .. }) => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }
}
