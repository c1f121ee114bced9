//! The service as a caller sees it.

use crate::error::Device1Error;
use crate::variant::{Dictionary, Variant};

/// The D-Bus service as a caller sees it. `org.fedecks.Device1.xml` says what each of it does.
///
/// Calls wait for an answer for ever unless the connection has a deadline for them, by
/// [`method_timeout`](zbus::connection::Builder::method_timeout); 25 s is more than any call takes.
#[zbus::proxy(
    interface = "org.fedecks.Device1",
    default_service = "org.fedecks.Device1",
    default_path = "/org/fedecks/Device1",
    gen_blocking = false
)]
pub trait Device1 {
    /// Logs the device in; whether the token is on disk already.
    fn login(&self, credentials: &Dictionary) -> Result<bool, Device1Error>;

    /// Ends the connection and forgets the token.
    fn logout(&self) -> Result<(), Device1Error>;

    /// Sends a value.
    fn send(&self, message: &Variant) -> Result<(), Device1Error>;

    /// Sends bytes as they are.
    fn send_raw(&self, bytes: &[u8]) -> Result<(), Device1Error>;

    /// Ends the connection, if there is one, and dials at once.
    fn reconnect(&self) -> Result<(), Device1Error>;

    /// Everything that is known about the connection's health.
    fn get_health(&self) -> Result<Dictionary, Device1Error>;

    /// What the connection is doing.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;

    /// Who the device is.
    #[zbus(property)]
    fn device_id(&self) -> zbus::Result<String>;

    /// Where its cloud is.
    #[zbus(property)]
    fn url(&self) -> zbus::Result<String>;

    /// Since when it is connected, in seconds since 1970-01-01 UTC; 0 while it is not.
    #[zbus(property)]
    fn connected_since(&self) -> zbus::Result<u64>;

    /// What the network watch says.
    #[zbus(property)]
    fn network_state(&self) -> zbus::Result<String>;

    /// What went wrong last, in words; empty if nothing did.
    #[zbus(property)]
    fn last_error(&self) -> zbus::Result<String>;

    /// The service's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;

    /// A value from the cloud.
    #[zbus(signal)]
    fn message_received(&self, message: Variant);

    /// Bytes from the cloud.
    #[zbus(signal)]
    fn raw_message_received(&self, bytes: Vec<u8>);

    /// Something happened to the connection.
    #[zbus(signal)]
    fn event(&self, name: String, details: Dictionary);
}
