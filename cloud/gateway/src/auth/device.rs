//! What an authenticated device is: the proof that a session asks for.

use std::net::SocketAddr;

use fedecks_protocol::{DeviceId, Dialect};

/// A device that has proved who it is: the only thing that a session accepts, and only `auth`
/// makes one.
#[derive(Debug)]
pub(crate) struct AuthenticatedDevice {
    pub(super) device: DeviceId,
    pub(super) dialect: Dialect,
    pub(super) generation: u64,
    pub(super) by: AuthenticatedBy,
    pub(super) peer: Option<SocketAddr>,
}

/// What a device proved itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticatedBy {
    /// Credentials, which [`Handler::authenticate`](crate::Handler::authenticate) accepted.
    Credentials,
    /// A token from an earlier connection.
    Token {
        /// When it was sealed, in seconds since 1970-01-01 UTC.
        issued_at: u64,
    },
}

impl AuthenticatedDevice {
    #[cfg(test)]
    pub(crate) fn of_a_test(device: DeviceId) -> Self {
        let by = AuthenticatedBy::Credentials;
        Self { device, dialect: Dialect::Bincode, generation: 0, by, peer: None }
    }

    pub(crate) fn device(&self) -> &DeviceId {
        &self.device
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The generation of the device's tokens that it was let in with.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn by(&self) -> AuthenticatedBy {
        self.by
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}
