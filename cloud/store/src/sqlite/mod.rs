//! The store in one SQLite file.

mod accounts;
mod api_tokens;
mod audit;
mod audit_log;
mod backup;
mod columns;
mod devices;
#[cfg(test)]
mod faults;
mod file;
mod notes;
mod outbox;
mod schema;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod worker;

pub use store::{SqliteStore, StoreOptions};
