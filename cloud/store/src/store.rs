//! The bound for one object that implements every trait.

use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::AuditStore;
use crate::claims::ClaimStore;
use crate::consumers::ConsumerStore;
use crate::device_queue::DeviceQueueStore;
use crate::devices::DeviceStore;
use crate::known_logins::KnownLoginStore;
use crate::messages::MessageStore;
use crate::queue::QueueStore;
use crate::registrations::RegistrationStore;
use crate::stats::StoreMonitor;

/// A store of everything in this crate, with [one contract](crate#contract). Code that needs one kind of
/// record takes its trait, such as `Arc<dyn AccountStore>`.
///
/// A `dyn Store` has every call, but becomes no `dyn AccountStore`: upcasting a trait object needs Rust 1.86.
pub trait Store:
    AccountStore
    + DeviceStore
    + ClaimStore
    + RegistrationStore
    + ApiTokenStore
    + KnownLoginStore
    + AuditStore
    + QueueStore
    + MessageStore
    + ConsumerStore
    + DeviceQueueStore
    + StoreMonitor
{
}

impl<S> Store for S where
    S: AccountStore
        + DeviceStore
        + ClaimStore
        + RegistrationStore
        + ApiTokenStore
        + KnownLoginStore
        + AuditStore
        + QueueStore
        + MessageStore
        + ConsumerStore
        + DeviceQueueStore
        + StoreMonitor
{
}
