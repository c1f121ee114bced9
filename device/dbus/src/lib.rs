//! The D-Bus interface `org.fedecks.Device1`, shared by the service `fedecksd` and its callers: the proxy,
//! the errors, and terms as D-Bus values; also a persistent connection to the system bus.

#![allow(clippy::wildcard_enum_match_arm, reason = "most D-Bus signatures are handled alike")]

mod bounded_socket;
mod error;
mod proxy;
mod system_bus;
mod variant;

pub use error::Device1Error;
pub use proxy::{Device1Proxy, RequestCancelledStream};
pub use system_bus::{SystemBus, messages};
pub use variant::{Dictionary, Received, ReceivedDictionary, Variant, VariantError};

/// The service's name on the bus, and the name of its interface.
pub const NAME: &str = "org.fedecks.Device1";

/// The path of its only object.
pub const PATH: &str = "/org/fedecks/Device1";
