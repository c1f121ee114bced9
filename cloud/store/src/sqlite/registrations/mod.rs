//! Registrations in SQLite.

mod approvals;
mod register;
mod revoking;
mod sql;
#[cfg(test)]
mod tests;

use fedecks_protocol::DeviceId;
use rusqlite::params;
use rusqlite::types::Value;

use super::columns::to_column;
use super::store::SqliteStore;
use super::write_behind::write_note_of;
use crate::approval_rules::Decision;
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::registrations::{
    Approval, RegistrationOutcome, RegistrationRequest, RegistrationStore, RevokeFilter,
    RevokedDevices,
};

impl RegistrationStore for SqliteStore {
    fn register<'a>(
        &'a self,
        request: &'a RegistrationRequest,
    ) -> StoreFuture<'a, RegistrationOutcome> {
        let (log, owned, notes) = (self.log, request.clone(), self.write_behind.clone());
        let registered = self.write_shared(move |tx| {
            // Whether it has come by token may still be waiting to be written.
            write_note_of(&notes, tx, &owned.device)?;
            register::register(tx, log, &owned)
        });
        Box::pin(async move {
            let (outcome, by) = registered.await?;
            if let (RegistrationOutcome::Refused(refusal), Some(by)) = (&outcome, &by) {
                let line = self.refused_before.line(request, *refusal, by);
                line.into_iter().for_each(|line| self.write_behind.audit(line));
            }
            Ok(outcome)
        })
    }

    fn approvals_page<'a>(
        &'a self,
        after: Option<&'a DeviceId>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<Approval>> {
        let after = after.map_or_else(String::new, DeviceId::to_string);
        let limit = limit.min(Approval::MAX_PAGE);
        self.read(move |database| approvals::page(database, &after, limit))
    }

    fn approve<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, bool> {
        self.decide(device, Decision::Approved, AuditAction::RegistrationApproved, by)
    }

    fn reject<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, bool> {
        self.decide(device, Decision::Rejected, AuditAction::RegistrationRejected, by)
    }

    fn allow_reregistration<'a>(
        &'a self,
        device: &'a DeviceId,
        until: u64,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let value = to_column(until).into();
        self.change_device(sql::ALLOW, device, value, AuditAction::ReregistrationAllowed, by)
    }

    fn set_certificate_key<'a>(
        &'a self,
        device: &'a DeviceId,
        key: [u8; 32],
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let value = key.to_vec().into();
        self.change_device(sql::SET_KEY, device, value, AuditAction::CertificateChanged, by)
    }

    fn revoke_matching<'a>(
        &'a self,
        filter: &'a RevokeFilter,
        dry_run: bool,
        by: &'a Actor,
    ) -> StoreFuture<'a, RevokedDevices> {
        Box::pin(self.revoke_in_steps(filter, dry_run, by))
    }
}

impl SqliteStore {
    /// Runs a statement that changes the row of a device. Returns whether it did.
    fn change_device<'a>(
        &'a self,
        sql: &'static str,
        device: &'a DeviceId,
        value: Value,
        action: AuditAction,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let id = device.clone();
        let changed = self.write_audited(by, action, Some(device), None, move |tx| {
            let rows = tx.prepare_cached(sql)?.execute(params![id.as_str(), value])?;
            Ok((rows > 0).then_some(()))
        });
        Box::pin(async move { Ok(changed.await?.is_some()) })
    }
}
