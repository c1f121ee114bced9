//! From an HTTP request to the WebSocket of a session.

mod handshake;
mod response;
mod routes;
pub(crate) mod socket;
#[cfg(feature = "serve")]
mod upgrades;
