//! The whole store: all that is kept, by the trait of each part.

use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::AuditStore;
use crate::devices::DeviceStore;
use crate::outbox::OutboxStore;
use crate::stats::StoreMonitor;

/// What outlives the server: accounts, devices, API tokens, the audit log and the outbox. Whoever needs
/// one of them asks for its trait; whatever has them all is a store.
///
/// Every change is answered when it is on disk, together with its line in the audit log, which says
/// that `by` made it. Every answer comes in bounded time, an error if need be. Dropping a future
/// gives up the answer, not the change.
///
/// What only notes something ([`DeviceStore::seen`], [`ApiTokenStore::api_token_used`],
/// [`AuditStore::audit_later`]) never waits: the notes of about a second are written together, are kept
/// while the store fails, and are dropped and counted above a bound.
pub trait Store:
    AccountStore + DeviceStore + ApiTokenStore + AuditStore + OutboxStore + StoreMonitor
{
}

impl<S> Store for S where
    S: AccountStore + DeviceStore + ApiTokenStore + AuditStore + OutboxStore + StoreMonitor
{
}
