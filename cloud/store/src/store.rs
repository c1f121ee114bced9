//! What every store does.

use fedecks_protocol::DeviceId;

use crate::accounts::Account;
use crate::api_tokens::{ApiToken, NewApiToken};
use crate::audit::{Actor, AuditEntry, AuditQuery, AuditRecord};
use crate::boxed::BoxFuture;
use crate::devices::{DeviceQuery, DeviceRecord, Forgotten, Standing};
use crate::error::StoreError;

/// What outlives the server: accounts, devices, API tokens and the audit log.
///
/// Every change is answered when it is on disk, together with its line in the audit log, which says
/// that `by` made it. Every answer comes in bounded time, an error if need be. Dropping a future
/// gives up the answer, not the change.
///
/// What only notes something ([`Store::seen`], [`Store::api_token_used`], [`Store::audit_later`])
/// never waits: the notes of about a second are written together, are kept while the store fails, and
/// are dropped and counted above a bound.
pub trait Store: Send + Sync + 'static {
    /// Adds an account with the Argon2 hash of its password. Fails with [`StoreError::Exists`] where
    /// there is one of that name.
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes an account; whether there was one.
    fn remove_account<'a>(
        &'a self,
        name: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// All accounts, ordered by name.
    fn accounts(&self) -> BoxFuture<'_, Result<Vec<Account>, StoreError>>;

    /// The Argon2 hash of an account's password, if there is such an account.
    fn password_hash<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>>;

    /// Notes that a device was connected `at` (seconds since 1970-01-01 UTC), let in when its tokens
    /// were of `generation`. What was noted of an older generation than that at which the device was
    /// forgotten does not bring it back. Never waits.
    fn seen(&self, device: &DeviceId, generation: u64, at: u64);

    /// Some of the devices that were ever seen, revoked or blocked and were not forgotten since,
    /// ordered by id.
    fn devices_page<'a>(
        &'a self,
        query: &'a DeviceQuery,
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>>;

    /// Those of these devices that are known, ordered by id. More than 1,000 at a time are not
    /// looked up.
    fn devices_by_id<'a>(
        &'a self,
        devices: &'a [DeviceId],
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>>;

    /// One device, if it is known.
    fn device<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<DeviceRecord>, StoreError>>;

    /// Gives a device a label, see [`check_label`](crate::check_label), or takes it away; whether the device is known.
    fn set_label<'a>(
        &'a self,
        device: &'a DeviceId,
        label: Option<&'a str>,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Takes a device off every list and makes its tokens worthless. It is known again, without its
    /// label, once it logs in.
    fn forget<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Forgotten, StoreError>>;

    /// Makes every token that the device has worthless. A device that was never seen can be revoked
    /// too. The new generation is higher than the former, and than any that was given to the device
    /// earlier by the clock: a store that came back from a back-up does not make tokens good again
    /// that were sealed since.
    fn revoke<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Standing, StoreError>>;

    /// Has the device refused until it is unblocked; its tokens stay what they are. `None` if it is
    /// blocked already. A device that was never seen can be blocked too.
    fn block<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<Standing>, StoreError>>;

    /// Takes a block away. `None` if the device is not blocked.
    fn unblock<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<Standing>, StoreError>>;

    /// The standings that changed after `change`, whichever process changed them, oldest first; all
    /// of them after 0. A device stands there once, with its latest.
    fn standings_after(&self, change: u64) -> BoxFuture<'_, Result<Vec<Standing>, StoreError>>;

    /// Adds an API token. Fails with [`StoreError::Exists`] where there is one of that name, and with
    /// [`StoreError::TooMany`] where there are [`ApiToken::MOST`].
    fn add_api_token<'a>(
        &'a self,
        token: &'a NewApiToken,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// All API tokens, ordered by name.
    fn api_tokens(&self) -> BoxFuture<'_, Result<Vec<ApiToken>, StoreError>>;

    /// Removes an API token; whether there was one.
    fn revoke_api_token<'a>(
        &'a self,
        name: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Notes that an API token was used `at` (seconds since 1970-01-01 UTC). Never waits.
    fn api_token_used(&self, name: &str, at: u64);

    /// Adds a line to the audit log for what is no change of the store. Never waits.
    fn audit_later(&self, entry: AuditEntry);

    /// Some lines of the audit log, newest first. It keeps a bounded number of them.
    fn audit_page<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<Vec<AuditRecord>, StoreError>>;

    /// Rises whenever the store may have become an older one, as when a back-up was put in its place:
    /// what was remembered of it has to be read anew.
    fn epoch(&self) -> u64;
}
