//! The command `fedecks` with the real service on a real bus.

mod claim;
mod deliveries;
mod documented;
mod exec;
mod fedecks;
mod follow;
mod queue;
mod requests;
mod results;
mod terminal;
