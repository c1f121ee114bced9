//! Three nodes and a database: every order of events in small, and random ones in large.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test helpers, which clippy does not recognize as tests"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "a new variant needs no decision here")]

mod database;
mod exhaustive;
mod newest;
mod outages;
mod random;
mod rules;
mod world;
