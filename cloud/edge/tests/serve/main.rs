//! What a client sees of the accept loop, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail")]

mod certificates;
mod client_certificates;
mod connections;
mod idle;
mod limits;
mod proxies;
mod support;
mod upgrades;
