//! placeholder
#[allow(dead_code)] // Its callers are being written.
mod clock;
#[allow(dead_code)] // Its callers are being written.
mod dial;
#[allow(dead_code)] // Its callers are being written.
mod durable;
#[allow(dead_code)] // Its callers are being written.
mod store;
#[allow(dead_code)] // Its callers are being written.
mod tls;
#[allow(dead_code)] // Its callers are being written.
mod transport;
#[allow(dead_code)] // Its callers are being written.
mod trusted_time;
#[allow(dead_code)] // Its callers are being written.
mod url;
#[allow(dead_code)] // Its callers are being written.
mod verify;

pub use durable::StoreError;
pub use tls::{Identity, TlsError, TlsOptions, Trust};
pub use url::{CloudUrl, InvalidUrl};
