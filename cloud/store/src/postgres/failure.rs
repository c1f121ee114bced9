//! Why an attempt at a call failed, and what follows from that.

use std::error::Error as _;
use std::io;

use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::StoreError;

/// The result of the work of a call, or of a part of it.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database or the connection to it.
    Database(Error),
    /// There is no connection.
    NoConnection(PoolError),
    /// A value that this library cannot have written.
    Damaged(String),
    /// The call itself: the transaction is rolled back, and this is the answer.
    Refused(StoreError),
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The database has rolled the transaction back for another one: try again.
    Again,
    /// The connection is lost, or useless from now on: try again with another one.
    Reconnect,
    /// The server does not take connections at the moment: try again a little later.
    Wait,
    /// It took too long.
    TooLate,
    /// Another attempt would fail too. The connection can be used again.
    Fail,
    /// Another attempt would fail too, at least with this connection.
    FailAndClose,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    pub(super) fn damaged(what: impl ToString) -> Self {
        Self::Damaged(what.to_string())
    }

    /// Whether the database knows that the lease of this server has ended (`hold_lease` in `schema/nodes.sql`).
    pub(super) fn is_without_lease(&self) -> bool {
        matches!(self, Self::Database(error) if error.code().is_some_and(|it| it.code() == "FDL01"))
    }

    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Database(error) => remedy(error),
            Self::NoConnection(PoolError::Timeout(_)) => Remedy::TooLate,
            Self::NoConnection(
                PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)),
            ) if is_temporary(error) => Remedy::Wait,
            Self::NoConnection(_) => Remedy::FailAndClose,
            Self::Damaged(_) | Self::Refused(_) => Remedy::Fail,
        }
    }

    /// The answer to the call.
    pub(super) fn answer(self, location: &str, action: &'static str) -> StoreError {
        let failed = |why: String| StoreError::failed(location, action, why);
        match self {
            Self::Refused(error) => error,
            Self::Damaged(what) => failed(what),
            Self::Database(error) => failed(text(&error)),
            Self::NoConnection(error) => match error {
                PoolError::Closed => StoreError::Closed { location: location.to_owned() },
                PoolError::Backend(error)
                | PoolError::PostCreateHook(HookError::Backend(error)) => {
                    StoreError::failed(location, "connect to", text(&error))
                }
                other => StoreError::failed(location, "connect to", other.to_string()),
            },
        }
    }
}

fn remedy(error: &Error) -> Remedy {
    let Some(code) = error.code() else {
        return if is_lost(error) { Remedy::Reconnect } else { Remedy::Fail };
    };
    match code {
        code if *code == SqlState::T_R_SERIALIZATION_FAILURE
            || *code == SqlState::T_R_DEADLOCK_DETECTED =>
        {
            Remedy::Again
        }
        code if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE => {
            Remedy::TooLate
        }
        // The last one is of a statement that was prepared before another server has migrated the tables.
        code if *code == SqlState::ADMIN_SHUTDOWN
            || *code == SqlState::CRASH_SHUTDOWN
            || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            || *code == SqlState::FEATURE_NOT_SUPPORTED =>
        {
            Remedy::Reconnect
        }
        // The server may have become a standby.
        code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Remedy::FailAndClose,
        _ => Remedy::Fail,
    }
}

/// Whether the server says that it will take connections soon.
fn is_temporary(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::CANNOT_CONNECT_NOW || *code == SqlState::TOO_MANY_CONNECTIONS
    })
}

fn is_lost(error: &Error) -> bool {
    error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>())
}

/// What the server says, or why it could not be asked. Not the details, which may have values of a row.
pub(super) fn text(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
