//! The D-Bus interface `org.fedecks.Device1` as its service, `fedecksd`, and its callers share it: the proxy,
//! the errors, and terms as D-Bus values; and the one connection to the system bus that a service keeps.

mod error;
mod proxy;
mod system_bus;
mod variant;

pub use error::Device1Error;
pub use proxy::Device1Proxy;
pub use system_bus::{SystemBus, messages};
pub use variant::{Dictionary, Received, ReceivedDictionary, Variant, VariantError};

/// The service's name on the bus, and that of its interface.
pub const NAME: &str = "org.fedecks.Device1";

/// Its one object.
pub const PATH: &str = "/org/fedecks/Device1";
