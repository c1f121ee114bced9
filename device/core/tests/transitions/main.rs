//! Every rule of the connection, one transition at a time: what comes out is compared as a whole
//! list, so that nothing is missing and nothing is left over.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not count as tests"
)]

mod close;
mod deadlines;
mod frames;
mod heartbeat;
mod login;
mod machine;
mod network;
mod reconnect;
mod refusal;
mod secrets;
mod shutdown;
mod start;
mod store;
mod suspend;
