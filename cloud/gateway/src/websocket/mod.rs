//! From an HTTP request to the WebSocket that a session runs on.

mod handshake;
mod response;
mod routes;
pub(crate) mod socket;
