//! Storage on disk: small files that survive power cuts, the lock of their directory, the token and the registration nonce. Public for
//! programs that store their files next to the token.

mod atomic_file;
mod data_dir;
mod nonce;
mod positions;
mod queue;
mod sealed_text;
mod store_error;
mod token;

pub use atomic_file::AtomicFile;
pub use data_dir::DataDir;
pub(crate) use nonce::NonceFile;
pub(crate) use positions::PositionsFile;
pub(crate) use queue::DiskQueue;
pub use store_error::StoreError;
pub use token::TokenStore;
