//! Serves a warp filter to the internet: an accept loop made for very many connections, with limits that
//! are enforced before anything is spent, TLS, and support for proxies.
//!
//! `serve` runs the filter, which finds a [`Peer`] among the extensions of each request. Without the
//! feature `serve` the crate contains only what code behind any accept loop needs: the [`Peer`] type, and
//! [`RateLimitKey`], which groups addresses for limits.

#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]

#[cfg(feature = "serve")]
mod activity;
#[cfg(feature = "serve")]
mod body;
mod certificate_refused;
#[cfg(feature = "serve")]
mod chain;
#[cfg(feature = "serve")]
mod client_auth;
mod client_certificate;
#[cfg(feature = "serve")]
mod client_problem;
#[cfg(feature = "serve")]
mod client_report;
#[cfg(feature = "serve")]
mod connection;
#[cfg(feature = "serve")]
mod handshake_error;
#[cfg(feature = "serve")]
mod http;
#[cfg(feature = "serve")]
mod idle;
#[cfg(feature = "serve")]
mod limiter;
#[cfg(feature = "serve")]
mod listen;
#[cfg(feature = "serve")]
mod options;
#[cfg(feature = "serve")]
mod parse_client;
mod peer;
#[cfg(feature = "serve")]
mod proxies;
#[cfg(feature = "serve")]
mod proxy_protocol;
mod rate_limit_key;
#[cfg(feature = "serve")]
mod refusals;
#[cfg(feature = "serve")]
mod revocation;
#[cfg(feature = "serve")]
mod serve_limits;
#[cfg(feature = "serve")]
mod server;
#[cfg(feature = "serve")]
mod signature_algorithm;
#[cfg(feature = "serve")]
mod socket;
mod task;
#[cfg(feature = "serve")]
mod throttle;
#[cfg(feature = "serve")]
mod tickets;
#[cfg(feature = "serve")]
mod tls;
#[cfg(feature = "serve")]
mod tls_error;
#[cfg(feature = "serve")]
mod tls_input;
#[cfg(feature = "serve")]
mod upgrades;

pub use certificate_refused::CertificateRefused;
pub use client_certificate::{ClientCertificate, LiveCertificate};
pub use peer::Peer;
pub use rate_limit_key::RateLimitKey;
pub use task::Task;
#[cfg(feature = "serve")]
pub use {
    chain::{CertificateReport, Finding, Severity},
    client_auth::ClientAuth,
    ipnet::IpNet,
    limiter::ServeStats,
    options::{Listen, ServeOptions},
    rustls_pki_types::TrustAnchor,
    serve_limits::ServeLimits,
    server::{ServeError, ServeMonitor, Server, check_addresses, serve},
    socket::{Socket, UpgradedSocket},
    task::after_upgrade,
    tls::Tls,
    tls_error::TlsError,
    upgrades::{UpgradeHandler, UpgradeHead, Upgrades},
};
