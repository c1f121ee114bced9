//! Devices in SQLite.

use fedecks_protocol::DeviceId;
use rusqlite::types::Value;
use rusqlite::{Connection, Error, OptionalExtension, Row, params, params_from_iter};

use super::columns::{address, damaged, optional_unsigned, to_column, unsigned};
use super::device_queue;
use super::messages;
use super::store::SqliteStore;
use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::devices::{
    AccessState, DeviceCounts, DeviceQuery, DeviceRecord, DeviceStore, ForgetOutcome,
};
use crate::error::StoreError;
use crate::registrations::{RegisteredBy, Registration};
use crate::time::unix_now;

impl DeviceStore for SqliteStore {
    fn seen(&self, device: &DeviceId, generation: u64, at: u64, by_token: bool) {
        self.write_behind.seen(device, generation, at, by_token);
    }

    fn devices_page<'a>(&'a self, query: &'a DeviceQuery) -> StoreFuture<'a, Vec<DeviceRecord>> {
        Box::pin(self.page_of_devices(query.clone()))
    }

    fn device_counts<'a>(
        &'a self,
        scope: Option<&'a DevicePattern>,
    ) -> StoreFuture<'a, DeviceCounts> {
        Box::pin(self.counts_of_devices(scope.cloned()))
    }

    fn devices_by_id<'a>(&'a self, devices: &'a [DeviceId]) -> StoreFuture<'a, Vec<DeviceRecord>> {
        let max = DeviceQuery::MAX as usize;
        let mut devices: Vec<_> = devices.iter().take(max).cloned().collect();
        devices.sort_unstable();
        devices.dedup();
        self.read(move |database| {
            let known = devices.iter().map(|device| one(database, device).transpose());
            known.flatten().collect()
        })
    }

    fn device<'a>(&'a self, device: &'a DeviceId) -> StoreFuture<'a, Option<DeviceRecord>> {
        let device = device.clone();
        self.read(move |database| one(database, &device))
    }

    fn set_label<'a>(
        &'a self,
        device: &'a DeviceId,
        label: Option<&'a str>,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        let label = label.map(str::to_owned);
        self.write_later(move |tx| {
            let sql = "UPDATE devices SET label = ?2 WHERE id = ?1 AND forgotten = 0";
            let changed = tx.execute(sql, params![device.as_str(), label])? > 0;
            if changed {
                let (by, device, detail) = (by.clone(), Some(device.clone()), label.clone());
                let action = AuditAction::DeviceLabelled;
                log.add(tx, &AuditEntry { at: unix_now(), by, action, device, detail })?;
            }
            Ok(changed)
        })
    }

    fn forget<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, ForgetOutcome> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |tx| {
            match one(tx, &device)? {
                None => return Ok(ForgetOutcome::Unknown),
                Some(record) if record.blocked_at.is_some() => return Ok(ForgetOutcome::Blocked),
                Some(_) => {}
            }
            let now = unix_now();
            messages::forget_device(tx, &device)?;
            device_queue::forget_device(tx, &device, now)?;
            // The row stays for its generation: an old token must not become valid again.
            let forgotten = tx.query_row(
                &format!(
                    "UPDATE devices
                     SET forgotten = 1, label = NULL, first_seen = NULL, last_seen = NULL,
                         registered_by = NULL, registered_at = NULL, registered_from = NULL,
                         returned_at = NULL, {REVOKED},
                         generation = max(generation + 1, ?2), change = {NEXT_CHANGE}
                     WHERE id = ?1
                     RETURNING {ACCESS}"
                ),
                params![device.as_str(), to_column(now)],
                access_state,
            )?;
            let (by, device) = (by.clone(), Some(device.clone()));
            let action = AuditAction::DeviceForgotten;
            log.add(tx, &AuditEntry { at: now, by, action, device, detail: None })?;
            Ok(ForgetOutcome::Done(forgotten))
        })
    }

    fn revoke<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, AccessState> {
        let sql = format!(
            "INSERT INTO devices (id, generation, change)
             VALUES (?1, max(1, ?2), {NEXT_CHANGE})
             ON CONFLICT (id) DO UPDATE
             SET generation = max(generation + 1, excluded.generation),
                 change = excluded.change, forgotten = 0, {REVOKED}
             RETURNING {ACCESS}"
        );
        let values = vec![device.as_str().to_owned().into(), to_column(unix_now()).into()];
        let revoked = self.change_access(sql, values, AuditAction::DeviceRevoked, device, by);
        // The statement always returns a row.
        let no_row = || StoreError::failed(&self.location, "write", Error::QueryReturnedNoRows);
        Box::pin(async move { revoked.await?.ok_or_else(no_row) })
    }

    fn block<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> StoreFuture<'a, Option<AccessState>> {
        let sql = format!(
            "INSERT INTO devices (id, blocked_at, change)
             VALUES (?1, ?2, {NEXT_CHANGE})
             ON CONFLICT (id) DO UPDATE
             SET blocked_at = excluded.blocked_at, change = excluded.change, forgotten = 0
             WHERE blocked_at IS NULL
             RETURNING {ACCESS}"
        );
        let values = vec![device.as_str().to_owned().into(), to_column(unix_now()).into()];
        self.change_access(sql, values, AuditAction::DeviceBlocked, device, by)
    }

    fn unblock<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> StoreFuture<'a, Option<AccessState>> {
        let sql = format!(
            "UPDATE devices SET blocked_at = NULL, change = {NEXT_CHANGE}
             WHERE id = ?1 AND blocked_at IS NOT NULL
             RETURNING {ACCESS}"
        );
        let values = vec![device.as_str().to_owned().into()];
        self.change_access(sql, values, AuditAction::DeviceUnblocked, device, by)
    }

    fn access_states_after(&self, change: u64) -> StoreFuture<'_, Vec<AccessState>> {
        self.read_first(move |database| {
            database
                .prepare_cached(&format!(
                    "SELECT {ACCESS} FROM devices WHERE change > ?1 ORDER BY change"
                ))?
                .query_map([to_column(change)], access_state)?
                .collect()
        })
    }
}

impl SqliteStore {
    /// Changes the access of a device by a statement that returns the new state, or no row if there was
    /// nothing to change.
    fn change_access<'a>(
        &'a self,
        sql: String,
        values: Vec<Value>,
        action: AuditAction,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> StoreFuture<'a, Option<AccessState>> {
        self.write_audited(by, action, Some(device), None, move |tx| {
            tx.query_row(&sql, params_from_iter(&values), access_state).optional()
        })
    }
}

const RECORD: &str =
    "id, label, first_seen, last_seen, generation, blocked_at, registered_by, registered_at,
    registered_from, reregistration_until, certificate_key, certificate_refused";

/// What revoking means besides the generation: the latest registration cannot be repeated, no permission to register
/// again is left, and the key of the certificate is refused.
pub(super) const REVOKED: &str = "nonce = NULL, came_by_token = 1, reregistration_until = NULL,
    certificate_refused = certificate_key IS NOT NULL";

const ACCESS: &str = "id, generation, blocked_at IS NOT NULL, change";

/// The number of the next change of any device's access.
pub(super) const NEXT_CHANGE: &str = "(SELECT ifnull(max(change), 0) + 1 FROM devices)";

pub(super) fn one(
    database: &Connection,
    device: &DeviceId,
) -> rusqlite::Result<Option<DeviceRecord>> {
    database
        .prepare_cached(&format!("SELECT {RECORD} FROM devices WHERE id = ?1 AND forgotten = 0"))?
        .query_row([device.as_str()], record)
        .optional()
}

fn record(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    Ok(DeviceRecord {
        id: device_id(row)?,
        label: row.get(1)?,
        first_seen: optional_unsigned(row, 2)?,
        last_seen: optional_unsigned(row, 3)?,
        generation: unsigned(row, 4)?,
        blocked_at: optional_unsigned(row, 5)?,
        registration: registration(row, 6)?,
        reregistration_allowed_until: optional_unsigned(row, 9)?,
        certificate_key: row.get(10)?,
        certificate_refused: row.get(11)?,
    })
}

/// The registration in a column and the two after it.
pub(super) fn registration(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Registration>> {
    let Some(by) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    let (by, at) = (RegisteredBy::from_text(&by), unsigned(row, column + 1)?);
    Ok(Some(Registration { by, at, address: address(row, column + 2)? }))
}

fn access_state(row: &Row<'_>) -> rusqlite::Result<AccessState> {
    Ok(AccessState {
        device: device_id(row)?,
        generation: unsigned(row, 1)?,
        blocked: row.get(2)?,
        change: unsigned(row, 3)?,
    })
}

/// The device id in the first column.
pub(super) fn device_id(row: &Row<'_>) -> rusqlite::Result<DeviceId> {
    DeviceId::new(row.get::<_, String>(0)?).map_err(|error| damaged(0, error))
}
