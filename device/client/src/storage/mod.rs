//! What the device keeps on disk. Open to programs that keep something of their own beside the token, as
//! `fedecksd` does.

mod atomic_file;
mod token;

pub use atomic_file::{AtomicFile, StoreError};
pub use token::TokenStore;
