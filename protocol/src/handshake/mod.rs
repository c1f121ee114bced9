//! What comes before and after the frames: authentication, refusals, close codes.

mod auth;
mod close;
mod refusal;
mod remedy;

pub use auth::{AuthError, AuthRequest, MAX_HEADER_CHARS, Proof};
pub use close::{CloseCode, CloseReason};
pub use refusal::Refusal;
