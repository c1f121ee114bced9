//! What devices see of the cloud, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod endings;
mod messages;
mod nodes;
mod refusals;
mod support;
mod tokens;
