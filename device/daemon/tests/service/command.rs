//! The command `fedecks` against the real service on a real bus.

mod answers;
mod desk;
mod documented;
mod follows;
mod terminal;
