//! The service `org.fedecks.Device1` on the system bus, and what its callers need.

mod error;
mod proxy;
mod variant;

pub use error::Device1Error;
pub use proxy::{Device1Proxy, EventStream, MessageReceivedStream, RawMessageReceivedStream};
pub use variant::{Dictionary, MAX_BYTES, Variant, VariantError};
