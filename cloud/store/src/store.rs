//! The whole store: one object with every trait.

use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::AuditStore;
use crate::devices::DeviceStore;
use crate::outbox::OutboxStore;
use crate::stats::StoreMonitor;

/// The bound for one object that serves everything in this crate, with [one contract](crate#contract).
/// Whoever needs one kind of record takes its trait, such as `Arc<dyn AccountStore>`.
///
/// This is no `dyn Store` to narrow later: upcasting a trait object came with Rust 1.86.
pub trait Store:
    AccountStore + DeviceStore + ApiTokenStore + AuditStore + OutboxStore + StoreMonitor
{
}

impl<S> Store for S where
    S: AccountStore + DeviceStore + ApiTokenStore + AuditStore + OutboxStore + StoreMonitor
{
}
