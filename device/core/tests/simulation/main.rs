//! Devices, a cloud and the roads between them on one virtual clock: weeks of faults in moments.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not count as tests")]

mod cloud;
mod device;
mod fleet;
mod outages;
mod silence;
mod takeover;
mod tokens;
mod world;
