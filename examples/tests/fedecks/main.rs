//! What the description of Fedecks promises, each as a test of both ends together: its features, the
//! set-up of the server and of the client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

mod client_setup;
mod features;
mod first_hour;
mod promises;
mod readme;
mod secrets;
mod server_setup;
mod support;
