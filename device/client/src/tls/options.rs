//! What an application decides about TLS.

use super::client_identity::Identity;
use super::trust::Trust;

/// The trusted authorities, and the device's client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The authorities that may issue the cloud's certificate.
    pub trust: Trust,
    /// Certificate chain and key of the device, for clouds that request a client certificate.
    pub identity: Option<Identity>,
}
