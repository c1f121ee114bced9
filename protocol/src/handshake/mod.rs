//! What is said before and after the frames: who a device is, why it is refused, why a link is closed.

mod auth;
mod close;
mod refusal;

pub use auth::{AuthError, AuthRequest, MAX_HEADER_CHARS, Proof};
pub use close::{CloseCode, CloseReason};
pub use refusal::Refusal;
