//! The server that Fedecks devices connect to, as a library on warp.

mod revocations;
mod store;
mod tokens;

pub use revocations::Revocations;
pub use store::{Account, BoxFuture, DeviceRecord, Revocation, SqliteStore, Store, StoreError};
pub use tokens::{Claims, Keyring, KeyringError, TokenError};
