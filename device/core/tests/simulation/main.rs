//! Devices, a cloud and the links between them on one virtual clock: weeks of faults in moments.

#![cfg(not(fedecks_emulated))] // The same decisions on every processor, and minutes under emulation.
#![expect(clippy::unwrap_used, reason = "test helpers, which clippy does not recognize as tests")]

mod balancer;
mod cloud;
mod device;
mod fleet;
mod link;
mod outages;
mod silence;
mod slow;
mod takeover;
mod tokens;
mod world;
