//! Logins with accounts and claims: passwords, registrations, and a handler that checks both.

mod certificate;
mod handler;
mod passwords;
mod registration;
mod turns;

pub use handler::AccountHandler;
pub use passwords::{PasswordError, hash_password};
pub use registration::RegistrationObserver;
