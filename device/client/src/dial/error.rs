//! Why a connection attempt failed: in detail for people, and as the cases that the core distinguishes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use fedecks_device_core as core;
use fedecks_protocol::Refusal;

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
        "unexpected HTTP status {status}{}; {}a proxy, a captive portal or another server answered",
        leads_to(.location.as_deref()), if *.status == 404 { "the path of the url is wrong, or " } else { "" }
    )]
    Http {
        status: u16,
        /// Where it redirects to, escaped and without a query.
        location: Option<String>,
    },
    /// The name has no address, or no resolver can be reached.
    #[error("cannot resolve {host}: {error}")]
    Resolve { host: String, error: String },
    /// None of the addresses can be reached.
    #[error("cannot connect to {host}: {failures}")]
    Tcp { host: String, failures: String },
    /// The peer could not prove its identity, or does not speak TLS.
    #[error("TLS handshake with {host} failed: {problem}")]
    Tls { host: String, problem: String },
    /// The peer's bytes are not a valid response to an upgrade.
    #[error("the WebSocket upgrade failed: {0}")]
    Upgrade(String),
}

fn leads_to(location: Option<&str>) -> String {
    location.map_or_else(String::new, |location| format!(", which leads to \"{location}\""))
}

impl From<DialError> for core::DialError {
    fn from(error: DialError) -> Self {
        let phase = match error {
            DialError::Refused { refusal, retry_after } => {
                return Self::Refused { refusal, retry_after };
            }
            DialError::Resolve { .. } => core::Phase::Resolve,
            DialError::Tcp { .. } => core::Phase::Tcp,
            DialError::Tls { .. } => core::Phase::Tls,
            DialError::Http { .. } | DialError::Upgrade(_) => core::Phase::Upgrade,
        };
        Self::Unreachable { phase, error: error.to_string() }
    }
}

/// How far an address came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Tcp,
    Tls,
    Upgrade,
}

/// What happened at each address that failed.
#[derive(Debug, Default)]
pub(super) struct Failures(Vec<(Step, SocketAddr, String)>);

impl Failures {
    pub(super) fn add(&mut self, step: Step, address: SocketAddr, problem: impl fmt::Display) {
        self.0.push((step, address, problem.to_string()));
    }

    /// The failures of the addresses that came furthest, as one error.
    pub(super) fn into_error(self, host: String) -> DialError {
        let furthest = self.0.iter().map(|(step, ..)| *step).max();
        let last: Vec<_> = self.0.iter().filter(|(step, ..)| Some(*step) == furthest).collect();
        let named = last.iter().map(|(_, address, problem)| format!("{address}: {problem}"));
        let all = named.collect::<Vec<_>>().join("; ");
        let problem = match last.split_first() {
            Some(((.., problem), rest)) if rest.iter().all(|(.., other)| other == problem) => {
                problem.clone()
            }
            _ => all.clone(),
        };
        match furthest {
            Some(Step::Upgrade) => DialError::Upgrade(problem),
            Some(Step::Tls) => DialError::Tls { host, problem },
            Some(Step::Tcp) | None => DialError::Tcp { host, failures: all },
        }
    }
}
