//! The accept loop of `fedecks-edge` under this library's name. Without the feature `serve` it has only
//! what other accept loops share with it.

pub use fedecks_edge::{
    CertificateRefused, ClientCertificate, LiveCertificate, Peer, RateLimitKey,
};
#[cfg(feature = "serve")]
pub use fedecks_edge::{
    CertificateReport, ClientAuth, Finding, IpNet, Listen, ServeError, ServeLimits, ServeMonitor,
    ServeOptions, ServeStats, Server, Severity, Tls, TlsError, TrustAnchor, Upgrades,
    check_addresses, serve,
};
