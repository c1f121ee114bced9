//! An authenticated device: the proof that a session requires.

use std::fmt;
use std::net::SocketAddr;

use fedecks_edge::LiveCertificate;
use fedecks_protocol::{DeviceId, Dialect};

/// A device that was authenticated. Sessions accept nothing else, and only `auth` creates it.
#[derive(Debug)]
pub(crate) struct AuthenticatedDevice {
    pub(super) device: DeviceId,
    pub(super) dialect: Dialect,
    pub(super) generation: u64,
    pub(super) by: AuthenticatedBy,
    pub(super) peer: Option<SocketAddr>,
    pub(super) certificate: Option<LiveCertificate>,
}

/// How a device was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthenticatedBy {
    /// By credentials, which [`Handler::authenticate`](crate::Handler::authenticate) accepted.
    Credentials,
    /// By its client certificate alone, which [`Handler::authenticate`](crate::Handler::authenticate) accepted.
    Certificate,
    /// By a token from an earlier connection.
    Token {
        /// When the token was issued, in seconds since 1970-01-01 UTC, by the clock of that time.
        issued_at: u64,
        /// It had expired, and was accepted because of
        /// [`Options::token_grace`](crate::Options::token_grace).
        late: bool,
    },
}

impl AuthenticatedDevice {
    #[cfg(test)]
    pub(crate) fn for_test(device: DeviceId) -> Self {
        let by = AuthenticatedBy::Credentials;
        Self { device, dialect: Dialect::Bincode, generation: 0, by, peer: None, certificate: None }
    }

    pub(crate) fn device(&self) -> &DeviceId {
        &self.device
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The generation of the device's tokens when it was authenticated.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn by(&self) -> AuthenticatedBy {
        self.by
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The certificate that it has presented besides.
    pub(crate) fn certificate(&self) -> Option<&LiveCertificate> {
        self.certificate.as_ref()
    }
}

impl AuthenticatedBy {
    /// `credentials`, `certificate` or `token`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Certificate => "certificate",
            Self::Token { .. } => "token",
        }
    }
}

impl fmt::Display for AuthenticatedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
