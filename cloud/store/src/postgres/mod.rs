//! The store in a PostgreSQL database, which several servers may share: the implementation of each trait in the file of
//! that name. A call runs in a task, within limits, on a connection of a pool.

mod accounts;
mod api_tokens;
mod audit;
mod audit_log;
mod batches;
mod call;
mod claims;
mod columns;
#[cfg(test)]
mod commit_tests;
mod connection;
mod consumers;
mod device_list;
mod device_queue;
mod devices;
mod failure;
#[cfg(test)]
mod faults;
mod flusher;
mod identity;
#[cfg(feature = "sqlite")]
mod importing;
mod known_logins;
mod lanes;
mod lease_calls;
mod lease_gate;
mod location;
mod locks;
mod messages;
mod nodes;
#[cfg(test)]
mod nodes_tests;
mod queue;
mod registrations;
mod schema;
mod seen_notes;
mod shared;
mod store;
#[cfg(test)]
mod test_relay;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
mod tls;
mod url;

#[cfg(feature = "sqlite")]
pub(crate) use importing::{Found as FoundTarget, Import, NotCommitted};
pub use lease_gate::LeaseGate;
pub use store::{PostgresOptions, PostgresStore};
pub use url::PostgresUrl;
