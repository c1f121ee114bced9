//! What an application decides about TLS.

use super::client_identity::Identity;
use super::trust::Trust;

/// The trusted authorities, and the device's client certificate.
///
/// ```
/// use fedecks_device::{Identity, TlsOptions, Trust};
///
/// let identity = Identity::new("/data/device.pem", "/data/device.key");
/// let tls = TlsOptions::new(Trust::Only("/etc/fedecks/ca.pem".into())).identity(identity);
/// # drop(tls);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The authorities that may issue the cloud's certificate.
    pub trust: Trust,
    /// Certificate chain and key of the device, for clouds that request a client certificate.
    pub identity: Option<Identity>,
}

impl TlsOptions {
    /// These authorities, and no client certificate.
    pub fn new(trust: Trust) -> Self {
        Self { trust, identity: None }
    }

    /// Presents this client certificate to a cloud that requests one.
    #[must_use]
    pub fn identity(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }
}

impl From<Trust> for TlsOptions {
    fn from(trust: Trust) -> Self {
        Self::new(trust)
    }
}
