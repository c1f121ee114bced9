//! Reports network changes to a [`Client`](fedecks_device::Client): from NetworkManager where it runs,
//! from the kernel's routing tables otherwise. An application that embeds the client spawns
//! [`watch_network`] as a task.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a library's new variants need no decision here"
)]

mod netlink;
mod network_manager;
mod source;
mod watch;

pub use source::{InvalidNetworkWatch, NetworkSource, NetworkWatch};
pub use watch::{watch_network, watch_network_on};
