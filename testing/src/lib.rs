//! What the tests and the bench share: waiting with a deadline, certificates, clouds, devices and
//! HTTP. For development only; no program depends on it.

// Helpers of tests fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod wait;
