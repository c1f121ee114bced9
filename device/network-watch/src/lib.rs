//! Tells a [`Client`](fedecks_device::Client) what becomes of the network: by NetworkManager where it runs, by
//! the kernel's routing tables where it does not. An application that embeds the client spawns
//! [`watch_network`] beside it.

mod netlink;
mod network_manager;
mod source;
mod watch;

pub use source::{InvalidNetworkWatch, NetworkSource, NetworkWatch};
pub use watch::{watch_network, watch_network_on};
