//! The server that Fedecks devices connect to, as a library on warp.

mod accounts;
mod revocations;
mod serve;
mod store;
mod tokens;

pub use accounts::{InvalidAccountName, PasswordError, check_account_name, hash_password};
pub use revocations::Revocations;
pub use serve::{Peer, ServeError, ServeLimits, ServeOptions, Server, Tls, TlsError, serve};
pub use store::{Account, BoxFuture, DeviceRecord, Revocation, SqliteStore, Store, StoreError};
pub use tokens::{Claims, Keyring, KeyringError, TokenError};
