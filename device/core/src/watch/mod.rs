//! Judges of what others watch: the network for the connection, and the connection for the device.

mod network;
mod unreachable;

pub use network::{DefaultRoute, Manager, Network, NetworkJudge, Routes, Sight};
pub use unreachable::Unreachable;
