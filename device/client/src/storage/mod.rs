//! Storage on disk: small files that survive power cuts, and the token. Public for programs that store
//! their files next to the token.

mod atomic_file;
mod sealed_text;
mod token;

pub use atomic_file::{AtomicFile, StoreError};
pub use token::TokenStore;
