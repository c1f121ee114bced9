//! The store in a PostgreSQL database, which several servers may share: the implementation of each trait in the file of
//! that name. A call runs in a task, within limits, on a connection of a pool.

#![allow(dead_code, reason = "the traits follow one by one")]

mod accounts;
mod audit;
mod audit_log;
mod call;
mod columns;
mod connection;
mod consumers;
mod device_queue;
mod failure;
mod flusher;
mod identity;
mod lanes;
mod location;
mod messages;
mod queue;
mod schema;
mod shared;
mod store;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod tls;

pub use store::{PostgresOptions, PostgresStore};
