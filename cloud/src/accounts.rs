mod handler;
mod passwords;

pub use handler::AccountHandler;
pub use passwords::{PasswordError, hash_password};
