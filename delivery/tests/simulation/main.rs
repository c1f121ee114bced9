//! Two ends with their stores, and the link between them: every order of events in small, and random ones in large.

#![cfg(not(fedecks_emulated))] // The same decisions on every processor, and minutes under emulation.
#![expect(clippy::unwrap_used, reason = "test helpers, which clippy does not recognize as tests")]

mod exhaustive;
mod ledger;
mod parts;
mod random;
mod world;
