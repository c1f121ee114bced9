//! The backplane with real NATS servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod conforms;
mod failures;
mod login;
mod support;
