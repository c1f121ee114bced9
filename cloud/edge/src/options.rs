//! Options of a server: where to listen, which proxies to trust, and its limits.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::serve_limits::ServeLimits;
use crate::tls::Tls;
use crate::upgrades::Upgrades;

/// Options of [`serve`](crate::serve). One [`Listen`], or a `Vec` of them, converts into these.
///
/// ```
/// use fedecks_cloud::{Listen, ServeOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listen = Listen::plain("127.0.0.1:8080".parse()?);
/// let proxy = "10.0.0.0/24".parse()?;
/// let options = ServeOptions::from(listen).with(|it| {
///     it.trusted_proxies.push(proxy);
///     it.limits.connections = 20_000;
/// });
/// assert_eq!(options.limits.connections, 20_000);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Where to listen, at least one address.
    pub listen: Vec<Listen>,
    /// The proxies and load balancers that may name their client by `X-Forwarded-For` or the PROXY
    /// protocol. From anyone else both are ignored.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits on what clients may use.
    pub limits: ServeLimits,
}

impl ServeOptions {
    /// These options after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl From<Listen> for ServeOptions {
    /// One address, and the defaults.
    fn from(listen: Listen) -> Self {
        Self { listen: vec![listen], ..Self::default() }
    }
}

impl From<Vec<Listen>> for ServeOptions {
    /// These addresses, and the defaults.
    fn from(listen: Vec<Listen>) -> Self {
        Self { listen, ..Self::default() }
    }
}

/// One address to listen on.
///
/// ```no_run
/// use fedecks_cloud::Listen;
/// use fedecks_cloud::serve::Tls;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::from_pem_files("/etc/ssl/cloud.pem", "/etc/ssl/cloud.key")?;
/// let devices = Listen::tls("[::]:443".parse()?, tls);
/// let monitoring = Listen::plain("127.0.0.1:9100".parse()?).with(|it| it.connections = Some(16));
/// # let _ = (devices, monitoring);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listen {
    /// The address. Port 0 picks a free one, see [`Server::addresses`](crate::Server::addresses).
    pub address: SocketAddr,
    /// TLS; `None` for plaintext.
    pub tls: Option<Tls>,
    /// Whether every connection begins with a header of the PROXY protocol, version 2, before TLS.
    /// Connections without one, and all that don't come from a trusted proxy, are closed.
    pub proxy_protocol: bool,
    /// A separate limit on the number of connections. They then don't count in [`ServeLimits::connections`]
    /// and [`ServeLimits::connections_per_address`], nor for the rate of the other listeners, so that a listener
    /// for monitoring answers while the others are full. `None` for all others.
    pub connections: Option<u32>,
    /// Who may answer an upgrade that a connection begins with, before the filter and without its machinery. Whatever
    /// this does not accept reaches the filter, and so does every request from a trusted proxy: the filter has to
    /// answer the same requests.
    pub upgrades: Option<Upgrades>,
}

impl Listen {
    /// Without TLS, not behind a proxy.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, proxy_protocol: false, connections: None, upgrades: None }
    }

    /// With TLS, not behind a proxy.
    pub fn tls(address: SocketAddr, tls: Tls) -> Self {
        Self { tls: Some(tls), ..Self::plain(address) }
    }

    /// This address after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
