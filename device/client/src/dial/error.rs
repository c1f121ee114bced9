//! Why a connection attempt failed: in detail for people, and as the cases that the core distinguishes.

use std::io;
use std::time::Duration;

use fedecks_device_core as core;
use fedecks_protocol::Refusal;

use super::happy_eyeballs::Failures;

/// Why a connection attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The cloud refused the upgrade, in the form that the protocol defines.
    #[error("the cloud refused: {refusal}")]
    Refused {
        refusal: Refusal,
        /// The delay that it asked for.
        retry_after: Option<Duration>,
    },
    /// Any other HTTP response: from a captive portal, a proxy or another server.
    #[error(
        "unexpected HTTP status {status}; a proxy, a captive portal or another server answered"
    )]
    Http { status: u16 },
    /// The name has no address, or no resolver can be reached.
    #[error("cannot resolve {host}: {error}")]
    Resolve { host: String, error: io::Error },
    /// None of the addresses can be reached.
    #[error("cannot connect to {host}: {failures}")]
    Tcp { host: String, failures: Failures },
    /// The peer could not prove its identity, or does not speak TLS.
    #[error("TLS handshake with {host} failed: {problem}")]
    Tls { host: String, problem: String },
    /// The peer's bytes are not a valid response to an upgrade.
    #[error("the WebSocket upgrade failed: {0}")]
    Upgrade(String),
}

impl From<DialError> for core::DialError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused { refusal, retry_after } => Self::Refused { refusal, retry_after },
            other => Self::Unreachable(other.to_string()),
        }
    }
}
