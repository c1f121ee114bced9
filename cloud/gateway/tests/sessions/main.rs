//! What devices see of the cloud, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Whatever is not expected fails the test.
#![allow(clippy::wildcard_enum_match_arm)]

#[cfg(feature = "accounts")]
mod accounts;
#[cfg(feature = "accounts")]
mod claims;
mod down;
mod down_fleet;
mod down_store;
mod endings;
mod guessing;
mod kept;
mod kept_endings;
mod kept_store;
mod messages;
mod nodes;
mod rate_limit;
mod refusals;
mod requests;
mod slow_readers;
mod support;
mod tls;
mod tokens;
