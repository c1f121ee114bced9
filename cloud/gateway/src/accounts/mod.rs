//! Logins with accounts: their passwords, and a handler that checks them.

mod handler;
mod passwords;
mod turns;

pub use handler::AccountHandler;
pub use passwords::{PasswordError, hash_password};
