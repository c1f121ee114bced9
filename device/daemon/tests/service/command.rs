//! The command `fedecks` with the real service on a real bus.

mod documented;
mod exec;
mod fedecks;
mod follow;
mod results;
mod terminal;
