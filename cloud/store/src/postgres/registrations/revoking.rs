//! Revokes the tokens of many devices, a step at a time, so that nothing waits for it.

use fedecks_protocol::DeviceId;

use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::error::StoreError;
use crate::postgres::audit_log::AuditLog;
use crate::postgres::call::Tx;
use crate::postgres::columns::{device_id, text, to_column};
use crate::postgres::device_list::like;
use crate::postgres::devices::REVOKED;
use crate::postgres::failure::Failure;
use crate::postgres::lanes::Lane;
use crate::postgres::store::PostgresStore;
use crate::registrations::{RevokeFilter, RevokedDevices};
use crate::time::unix_now;

/// How many devices are revoked in a step.
const STEP: usize = 250;

impl PostgresStore {
    pub(super) async fn revoke_in_steps(
        &self,
        filter: &RevokeFilter,
        dry_run: bool,
        by: &Actor,
    ) -> Result<RevokedDevices, StoreError> {
        let mut revoked = RevokedDevices::default();
        let mut after = String::new();
        loop {
            let args = (filter.clone(), after.clone(), by.clone());
            let log = self.shared.log;
            let step = if dry_run {
                self.read(Lane::Read, args, |tx, (filter, after, _)| {
                    Box::pin(find(tx, filter, after, ""))
                })
                .await?
            } else {
                self.write(Lane::Later, args, move |tx, (filter, after, by)| {
                    Box::pin(revoke(tx, log, filter, after, by))
                })
                .await?
            };
            let is_last = step.len() < STEP;
            after = step.last().map_or(after, DeviceId::to_string);
            revoked.count += step.len() as u64;
            let room = RevokedDevices::MAX_NAMED - revoked.devices.len();
            revoked.devices.extend(step.into_iter().take(room));
            if is_last {
                return Ok(revoked);
            }
        }
    }
}

/// The first devices after one, at most [`STEP`].
async fn find(
    tx: &Tx,
    filter: &RevokeFilter,
    after: &str,
    locked: &str,
) -> Result<Vec<DeviceId>, Failure> {
    let by = filter.by.as_ref().map(ToString::to_string);
    let by = by.as_deref().map(text);
    let pattern = filter.devices.as_ref().map(like);
    let by_registration = if by.is_some() { "registered_by = $2" } else { "$2::text IS NULL" };
    let sql = format!(
        "SELECT id FROM devices
         WHERE id > $1 AND {by_registration} AND ($3::text IS NULL OR id LIKE $3) AND NOT forgotten
         ORDER BY id LIMIT {STEP} {locked}"
    );
    let rows = tx.query(&sql, &[&after, &by, &pattern]).await?;
    rows.iter().map(|row| device_id(row, 0)).collect()
}

/// Revokes them, and numbers the changes in the order of their ids.
async fn revoke(
    tx: &Tx,
    log: AuditLog,
    filter: &RevokeFilter,
    after: &str,
    by: &Actor,
) -> Result<Vec<DeviceId>, Failure> {
    let devices = find(tx, filter, after, "FOR UPDATE").await?;
    if devices.is_empty() {
        return Ok(devices);
    }
    let at = unix_now();
    let ids: Vec<&str> = devices.iter().map(DeviceId::as_str).collect();
    let count = to_column(devices.len() as u64);
    let sql = format!(
        "WITH numbered AS
             (UPDATE access_changes SET newest = newest + $2 RETURNING newest - $2 AS before)
         UPDATE devices
         SET generation = greatest(generation + 1, $3), change = before + place, {REVOKED}
         FROM numbered, unnest($1::text[]) WITH ORDINALITY AS revoked (revoked_id, place)
         WHERE id = revoked_id"
    );
    tx.execute(&sql, &[&ids, &count, &to_column(at)]).await?;
    let detail = filter.by.as_ref().map(ToString::to_string);
    let line = |device: &DeviceId| {
        let (by, action, device) = (by.clone(), AuditAction::DeviceRevoked, Some(device.clone()));
        AuditEntry { at, by, action, device, detail: detail.clone() }
    };
    let lines: Vec<_> = devices.iter().map(line).collect();
    log.add(tx, &lines).await?;
    Ok(devices)
}
