//! State machines next to the connection: debouncing of network observations, and the time without a
//! cloud. The observations themselves are made elsewhere.

mod network;
mod unreachable;

pub use network::{DefaultRoute, Manager, Network, NetworkDebouncer, Observation, Routes};
pub use unreachable::Unreachable;
