//! Why an attempt gave no WebSocket, in words for people, and what the core makes a difference of.

use std::io;
use std::time::Duration;

use fedecks_device_core as core;
use fedecks_protocol::Refusal;

use super::happy_eyeballs::Failures;

/// Why an attempt gave no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The cloud refused the upgrade in the protocol's own form.
    #[error("the cloud refused: {refusal}")]
    Refused {
        refusal: Refusal,
        /// The delay that it asked for.
        retry_after: Option<Duration>,
    },
    /// Somebody answered in any other form: a captive portal, a proxy, another server.
    #[error("the answer has the HTTP status {status}, which is not Fedecks's")]
    Http { status: u16 },
    /// The name has no address, or nobody can be asked.
    #[error("cannot resolve {host}: {error}")]
    Resolve { host: String, error: io::Error },
    /// None of the addresses can be reached.
    #[error("cannot connect to {host}: {failures}")]
    Tcp { host: String, failures: Failures },
    /// The other end could not prove who it is, or does not speak TLS.
    #[error("no TLS with {host}: {problem}")]
    Tls { host: String, problem: String },
    /// What came back is not an answer to an upgrade.
    #[error("the upgrade failed: {0}")]
    Upgrade(String),
}

impl From<DialError> for core::DialError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused { refusal, retry_after } => Self::Refused { refusal, retry_after },
            DialError::Http { .. }
            | DialError::Resolve { .. }
            | DialError::Tcp { .. }
            | DialError::Tls { .. }
            | DialError::Upgrade(_) => Self::Unreachable(error.to_string()),
        }
    }
}
