//! Debounces network observations, and decides when the cloud counts as unreachable.

mod network;
mod unreachable;

pub use network::{DefaultRoute, Manager, Network, NetworkDebouncer, Observation, Routes};
pub use unreachable::Unreachable;
