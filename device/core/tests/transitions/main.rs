//! Every rule of the connection, one transition at a time. The outputs are compared as complete lists,
//! so that none is missing and none is left over.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test helpers, which clippy does not recognize as tests"
)]

mod close;
mod deadlines;
mod disk;
mod frames;
mod heartbeat;
mod inbox;
mod kept;
mod late;
mod login;
mod logout;
mod machine;
mod network;
mod network_connected;
mod outputs;
mod reconnect;
mod refusal;
mod requests;
mod secrets;
mod shutdown;
mod start;
mod store;
mod suspend;
