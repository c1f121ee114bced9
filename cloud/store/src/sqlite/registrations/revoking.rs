//! Revokes the tokens of many devices, a step at a time, so that nothing waits for it.

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, params, params_from_iter};

use super::sql;
use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::error::StoreError;
use crate::registrations::{RevokeFilter, RevokedDevices};
use crate::sqlite::columns::to_column;
use crate::sqlite::device_list::SCAN_ROWS;
use crate::sqlite::devices::{NEXT_CHANGE, REVOKED, device_id};
use crate::sqlite::store::SqliteStore;
use crate::time::unix_now;

/// How many devices are revoked in a step.
const STEP: usize = 250;

/// A part of the devices that a filter selects.
struct Found {
    devices: Vec<DeviceId>,
    /// The last device that was read; `None` if no more are left.
    stopped_at: Option<String>,
}

impl SqliteStore {
    pub(super) async fn revoke_in_steps(
        &self,
        filter: &RevokeFilter,
        dry_run: bool,
        by: &Actor,
    ) -> Result<RevokedDevices, StoreError> {
        let mut revoked = RevokedDevices::default();
        let mut after = Some(String::new());
        while let Some(from) = after {
            let (filter, by, log) = (filter.clone(), by.clone(), self.log);
            let step = if dry_run {
                self.read(move |database| find(database, &filter, &from)).await?
            } else {
                self.write_later(move |tx| {
                    let found = find(tx, &filter, &from)?;
                    let (at, detail) = (unix_now(), filter.by.as_ref().map(ToString::to_string));
                    for device in &found.devices {
                        revoke(tx, device, at)?;
                        let (by, action) = (by.clone(), AuditAction::DeviceRevoked);
                        let (device, detail) = (Some(device.clone()), detail.clone());
                        log.add(tx, &AuditEntry { at, by, action, device, detail })?;
                    }
                    Ok(found)
                })
                .await?
            };
            revoked.count += step.devices.len() as u64;
            let room = RevokedDevices::MAX_NAMED - revoked.devices.len();
            revoked.devices.extend(step.devices.into_iter().take(room));
            after = step.stopped_at;
        }
        Ok(revoked)
    }
}

/// The first devices after one, at most [`STEP`], of at most [`SCAN_ROWS`] rows.
fn find(database: &Connection, filter: &RevokeFilter, after: &str) -> rusqlite::Result<Found> {
    let (sql, values) = match &filter.by {
        Some(by) => (sql::BY_REGISTRATION, vec![by.to_string(), after.to_owned()]),
        None => (sql::BY_ID, vec![after.to_owned()]),
    };
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut devices = Vec::new();
    for number in 1.. {
        let Some(row) = rows.next()? else { break };
        let device = device_id(row)?;
        let (id, pattern) = (device.to_string(), filter.devices.as_ref());
        if pattern.is_none_or(|pattern| pattern.matches(&device)) {
            devices.push(device);
        }
        if number == SCAN_ROWS || devices.len() == STEP {
            return Ok(Found { devices, stopped_at: Some(id) });
        }
    }
    Ok(Found { devices, stopped_at: None })
}

fn revoke(tx: &Connection, device: &DeviceId, at: u64) -> rusqlite::Result<()> {
    let sql = format!(
        "UPDATE devices SET generation = max(generation + 1, ?2), change = {NEXT_CHANGE}, {REVOKED}
         WHERE id = ?1"
    );
    tx.prepare_cached(&sql)?.execute(params![device.as_str(), to_column(at)]).map(drop)
}
