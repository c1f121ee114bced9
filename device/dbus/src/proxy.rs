//! The client side of the D-Bus interface.

use crate::error::Device1Error;
use crate::variant::{Dictionary, Variant};

/// The D-Bus service, for its callers. `org.fedecks.Device1.xml` documents each member.
///
/// Calls wait for a reply without limit unless the connection has a
/// [`method_timeout`](zbus::connection::Builder::method_timeout); no call takes longer than 25 s.
#[zbus::proxy(
    interface = "org.fedecks.Device1",
    default_service = "org.fedecks.Device1",
    default_path = "/org/fedecks/Device1",
    gen_blocking = false
)]
pub trait Device1 {
    /// Logs the device in. Returns true if the token is already on disk.
    fn login(&self, credentials: &Dictionary) -> Result<bool, Device1Error>;

    /// Closes the connection and deletes the token.
    fn logout(&self) -> Result<(), Device1Error>;

    /// Keeps a value until the cloud has acknowledged it. Returns its id.
    fn send_kept(&self, message: &Variant, options: &Dictionary) -> Result<String, Device1Error>;

    /// Keeps raw bytes until the cloud has acknowledged them. Returns their id.
    fn send_raw_kept(&self, bytes: &[u8], options: &Dictionary) -> Result<String, Device1Error>;

    /// The outcome of a message that was kept with the option `track`: `waiting` after 20 s without an end.
    fn wait_settled(&self, id: &str) -> Result<String, Device1Error>;

    /// Sends a value, and returns once the cloud has confirmed it.
    fn send(&self, message: &Variant) -> Result<(), Device1Error>;

    /// Sends raw bytes.
    fn send_raw(&self, bytes: &[u8]) -> Result<(), Device1Error>;

    /// Asks the cloud, and returns its answer; waits for as many seconds, or 30 if that is 0.
    fn request(&self, message: &Variant, timeout: u32) -> Result<Variant, Device1Error>;

    /// The next request of the cloud, with its id; 0 if there was none for as many seconds, at most 20.
    fn next_request(&self, timeout: u32) -> Result<(u64, Variant, Dictionary), Device1Error>;

    /// Answers a request of the cloud.
    fn reply_to_request(&self, id: u64, message: &Variant) -> Result<(), Device1Error>;

    /// Refuses to answer a request of the cloud.
    fn refuse_request(&self, id: u64, text: &str) -> Result<(), Device1Error>;

    /// The next kept message of this lane, with its id, which is empty if there was none for as many seconds, at most 20.
    fn next_message(
        &self,
        lane: &str,
        timeout: u32,
    ) -> Result<(String, Variant, Dictionary), Device1Error>;

    /// A kept message was taken, and need not come again.
    fn acknowledge(&self, id: &str) -> Result<(), Device1Error>;

    /// A kept message can never be taken.
    fn reject(&self, id: &str, reason: &str) -> Result<(), Device1Error>;

    /// Closes the connection, if there is one, and dials immediately.
    fn reconnect(&self) -> Result<(), Device1Error>;

    /// Everything that is known about the connection's health.
    fn get_health(&self) -> Result<Dictionary, Device1Error>;

    /// The connection's state.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;

    /// The device's id.
    #[zbus(property)]
    fn device_id(&self) -> zbus::Result<String>;

    /// The cloud's URL.
    #[zbus(property)]
    fn url(&self) -> zbus::Result<String>;

    /// When the connection was established, in seconds since 1970-01-01 UTC; 0 unless connected.
    #[zbus(property)]
    fn connected_since(&self) -> zbus::Result<u64>;

    /// What the network watch reported last.
    #[zbus(property)]
    fn network_state(&self) -> zbus::Result<String>;

    /// The last failure, in words; empty if there was none.
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

    /// No one waits for the answer to this request of the cloud any longer.
    #[zbus(signal)]
    fn request_cancelled(&self, id: u64);

    /// Something happened to the connection.
    #[zbus(signal)]
    fn event(&self, name: String, details: Dictionary);
}
