//! The real binary: what it prints, what it leaves behind and how it ends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail the test")]

mod certificates;
mod configuration;
mod serving;
mod store;
mod support;
