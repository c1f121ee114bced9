//! Persistent records of a Fedecks server: accounts, devices, claims, API tokens, the audit log, and queues of what
//! waits to be delivered, such as events for webhooks. And the clock that they are dated and judged by, see [`Clock`].
//!
//! Each kind has its record types and a storage trait, which any database can implement; a [`Store`]
//! implements all of them. [`NodeStore`] is for a database that several servers share. The feature `sqlite` adds a
//! store in a file, `SqliteStore`; the feature `postgres` one in a PostgreSQL database, `PostgresStore`; the feature
//! `conformance` adds the tests that every implementation must pass.
//!
//! # Contract
//!
//! Each of the storage traits promises:
//!
//! - A change is answered when it is on disk.
//! - Every call is answered in bounded time, possibly with an error.
//! - Dropping a future discards the answer, not the change.
//!
//! A change of accounts, devices, claims or API tokens is written together with its line in the audit log, which
//! names `by` as its author.
//!
//! Notes ([`DeviceStore::seen`], [`ApiTokenStore::api_token_used`], [`KnownLoginStore::login_succeeded`],
//! [`AuditStore::audit_later`]) never wait: those of about a second are written together, kept while the
//! store fails, and dropped and counted above a limit.

#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a new variant seldom needs a decision here; the protocol and the device's core keep the lint"
)]

mod accounts;
mod api_tokens;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod approval_rules;
mod audit;
mod boxed;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod claim_rules;
mod claims;
mod clock;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod columns;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod consumer_place;
mod consumers;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod counters;
mod dead_letters;
mod device_pattern;
mod device_queue;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod device_range;
mod devices;
mod down_size;
mod epoch;
mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod judge;
mod known_logins;
mod latency;
mod messages;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod moving;
mod nodes;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod notes;
#[cfg(feature = "postgres")]
mod postgres;
mod queue;
mod queue_item;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod refused_before;
mod registrations;
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
pub use audit::{
    Actor, AuditAction, AuditClass, AuditEntry, AuditKept, AuditLimits, AuditQuery, AuditRecord,
    AuditStore,
};
pub use boxed::{BoxFuture, StoreFuture};
pub use claims::{
    ClaimId, ClaimQuery, ClaimRecord, ClaimSecret, ClaimState, ClaimStore, ClaimUse,
    InvalidClaimId, InvalidClaimSecret, NewClaim,
};
pub use clock::{
    BUILD_TIME, Clock, ClockSource, FloorFile, FloorFileError, ManualClock, SystemClock,
};
pub use consumers::{
    ConsumerAnswer, ConsumerDevices, ConsumerRecord, ConsumerStore, LogAcknowledged, OpenConsumer,
};
pub use dead_letters::DeadLetter;
pub use device_pattern::{DevicePattern, InvalidDevicePattern};
pub use device_queue::{
    Acknowledged, Acknowledgement, Cancelled, DeviceQueueStore, DownEntry, DownMessage, DownRecord,
    DownRoom, DownState, DownStatus, DownWindow, DropReason, ExpiredMessages, IdempotencyKey,
    NewDown, Queued,
};
pub use devices::{
    AccessState, DeviceCounts, DeviceQuery, DeviceRecord, DeviceStore, ForgetOutcome, InvalidLabel,
    check_label,
};
pub use down_size::{DownLimits, DownSize};
pub use epoch::Epoch;
pub use error::StoreError;
pub use known_logins::{KnownLogin, KnownLoginStore};
pub use latency::{Latency, LatencyHistogram};
pub use messages::{
    Effects, Enqueue, Fence, LogQuery, LogStatus, LoggedContent, LoggedMessage, MessageStore,
    NewLogged, OpenStreams, Step, StreamPosition,
};
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub use moving::{MovedTable, Moving, MovingOutcome};
pub use nodes::{
    Admission, COMMIT_TIME, DEAD_AFTER, LONGEST_PAUSE, LeaseOutcome, NewNode, NodeLease,
    NodeRecord, NodeState, NodeStore, RENEWAL_INTERVAL, Renewal, WATCH_TIME,
};
#[cfg(feature = "postgres")]
pub use postgres::{LeaseGate, PostgresOptions, PostgresStore, PostgresUrl};
pub use queue::{
    Dropped, QueueBudget, QueueStatus, QueueStore, Reservation, Reserved, ReservedItem, Room,
    Settled, Settlement,
};
pub use queue_item::QueueItem;
pub use registrations::{
    Approval, InvalidRegistrationNonce, REPETITION_S, RETURN_INTERVAL_S, RegisteredBy,
    Registration, RegistrationNonce, RegistrationOutcome, RegistrationProof, RegistrationRefusal,
    RegistrationRequest, RegistrationStore, RevokeFilter, RevokedDevices,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteStore, StoreOptions};
pub use stats::{StoreMonitor, StoreStats};
pub use store::Store;
pub use time::{since_1970, unix_now};
