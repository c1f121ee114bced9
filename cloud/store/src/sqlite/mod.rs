//! The store in one SQLite file: the implementation of each trait in the file of that name, on a worker
//! thread that owns the database.

mod accounts;
mod api_tokens;
mod audit;
mod audit_log;
#[cfg(test)]
mod audit_tests;
mod backup;
mod calls;
#[cfg(test)]
mod calls_tests;
mod claims;
mod columns;
mod consumers;
mod device_list;
mod device_queue;
mod devices;
#[cfg(test)]
mod faults;
mod file;
mod group;
#[cfg(test)]
mod group_tests;
mod known_logins;
mod login_notes;
mod messages;
#[cfg(feature = "postgres")]
mod moving;
mod new_file;
mod queue;
mod registrations;
mod retired;
mod retirement;
mod schema;
mod seen_notes;
mod server_lock;
mod shrink;
mod store;
#[cfg(test)]
mod tests;
mod worker;
mod write_behind;

#[cfg(feature = "postgres")]
pub(crate) use moving::MovedFile;
pub use store::{SqliteStore, StoreOptions};
