//! What the device keeps on disk. Public for programs that store files of their own next to the
//! token.

mod atomic_file;
mod token;

pub use atomic_file::{AtomicFile, StoreError};
pub use token::TokenStore;
