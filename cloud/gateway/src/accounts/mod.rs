//! Logins with accounts: their passwords, and a handler that checks them.

mod handler;
mod passwords;

pub use handler::AccountHandler;
pub use passwords::{PasswordError, hash_password};
