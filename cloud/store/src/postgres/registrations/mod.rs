//! Registrations in PostgreSQL.

mod approvals;
mod register;
mod revoking;
mod sql;

use fedecks_protocol::DeviceId;

use super::columns::to_column;
use super::lanes::Lane;
use super::store::{Line, PostgresStore};
use crate::approval_rules::Decision;
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::registrations::{
    Approval, RegistrationOutcome, RegistrationRequest, RegistrationStore, RevokeFilter,
    RevokedDevices,
};
use crate::time::unix_now;

impl RegistrationStore for PostgresStore {
    fn register<'a>(
        &'a self,
        request: &'a RegistrationRequest,
    ) -> StoreFuture<'a, RegistrationOutcome> {
        // Whether it has come by token may still be waiting to be written.
        let note = self.shared.notes.note_of(&request.device);
        let (log, args) = (self.shared.log, (request.clone(), note));
        let registered = self.write(Lane::Shared, args, move |tx, (request, note)| {
            Box::pin(register::register(tx, log, request, *note))
        });
        Box::pin(async move {
            let (outcome, by) = registered.await?;
            if let (RegistrationOutcome::Refused(refusal), Some(by)) = (&outcome, &by) {
                let line = self.shared.refused_before.line(request, *refusal, by);
                line.into_iter().for_each(|line| self.shared.notes.audit(line));
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
        let limit = i64::from(limit.min(Approval::MAX_PAGE));
        self.read(Lane::Read, (after, limit), |tx, (after, limit)| {
            Box::pin(approvals::page(tx, after, *limit))
        })
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
        let line = Line::of(by, AuditAction::ReregistrationAllowed, device);
        let args = (device.clone(), to_column(until));
        self.execute_audited(Lane::Change, line, args, |tx, (device, until)| {
            Box::pin(async move { tx.execute(sql::ALLOW, &[&device.as_str(), until]).await })
        })
    }

    fn set_certificate_key<'a>(
        &'a self,
        device: &'a DeviceId,
        key: [u8; 32],
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let line = Line::of(by, AuditAction::CertificateChanged, device);
        self.execute_audited(Lane::Change, line, (device.clone(), key), |tx, (device, key)| {
            Box::pin(async move { tx.execute(sql::SET_KEY, &[&device.as_str(), &&key[..]]).await })
        })
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

impl PostgresStore {
    /// Decides about what waits. Returns false if nothing does.
    fn decide<'a>(
        &'a self,
        device: &'a DeviceId,
        decision: Decision,
        action: AuditAction,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let args = (device.clone(), decision as i16);
        let line = Line::of(by, action, device);
        self.execute_audited(Lane::Change, line, args, |tx, (device, decision)| {
            Box::pin(async move {
                let now = to_column(unix_now());
                tx.execute(sql::DECIDE, &[&device.as_str(), decision, &now]).await
            })
        })
    }
}
