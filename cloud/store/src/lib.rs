//! What outlives a Fedecks server: accounts, devices, API tokens, the audit log, and what waits to be
//! delivered to webhooks.
//!
//! Each of them has its records and a trait of its own, which says what is done with them, whatever they
//! are kept on; a [`Store`] has them all. With the feature `sqlite` there is one in a file,
//! `SqliteStore`; with the feature `conformance` there is what holds any other to the contract.

mod accounts;
mod api_tokens;
mod audit;
mod boxed;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod device_pattern;
mod devices;
mod epoch;
mod error;
mod latency;
mod outbox;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stats;
mod store;
mod text;
mod time;

pub use accounts::{Account, AccountStore, InvalidAccountName, check_account_name};
pub use api_tokens::{
    ApiSecret, ApiToken, ApiTokenStore, InvalidRole, InvalidTokenName, NewApiToken, Role, Roles,
    check_token_name,
};
pub use audit::{Actor, AuditAction, AuditEntry, AuditQuery, AuditRecord, AuditStore};
pub use boxed::BoxFuture;
pub use device_pattern::{DevicePattern, InvalidDevicePattern};
pub use devices::{
    DeviceQuery, DeviceRecord, DeviceStore, Forgotten, InvalidLabel, Standing, check_label,
};
pub use epoch::Epoch;
pub use error::StoreError;
pub use latency::{Latency, LatencyHistogram};
pub use outbox::{OutboxEntry, OutboxItem, OutboxStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteStore, StoreOptions};
pub use stats::{StoreMonitor, StoreStats};
pub use store::Store;
pub use time::{since_1970, unix_now};
