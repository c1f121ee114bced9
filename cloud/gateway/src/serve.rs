//! The accept loop of `fedecks-edge` under this library's name. Without the feature `serve` it has only
//! what other accept loops share with it.

#[cfg(feature = "serve")]
pub use fedecks_edge::{
    CertificateReport, Finding, IpNet, Listen, ServeError, ServeLimits, ServeMonitor, ServeOptions,
    ServeStats, Server, Severity, Tls, TlsError, TrustAnchor, check_addresses, serve,
};
pub use fedecks_edge::{Peer, RateLimitKey};
