//! Devices in PostgreSQL.

use fedecks_protocol::DeviceId;
use tokio_postgres::Row;

use super::call::Tx;
use super::columns::{
    address, bytes, device_id, get, optional_unsigned, text, to_column, unsigned,
};
use super::device_queue;
use super::failure::Failure;
use super::lanes::Lane;
use super::messages;
use super::store::{Line, PostgresStore};
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::devices::{
    AccessState, DeviceCounts, DeviceQuery, DeviceRecord, DeviceStore, ForgetOutcome,
};
use crate::registrations::{RegisteredBy, Registration};
use crate::time::unix_now;

impl DeviceStore for PostgresStore {
    fn seen(&self, device: &DeviceId, generation: u64, at: u64, by_token: bool) {
        self.shared.notes.seen(device, generation, at, by_token);
    }

    fn devices_page<'a>(&'a self, query: &'a DeviceQuery) -> StoreFuture<'a, Vec<DeviceRecord>> {
        Box::pin(self.page_of_devices(query.clone()))
    }

    fn device_counts<'a>(
        &'a self,
        scope: Option<&'a DevicePattern>,
    ) -> StoreFuture<'a, DeviceCounts> {
        self.counts_of_devices(scope.cloned())
    }

    fn devices_by_id<'a>(&'a self, devices: &'a [DeviceId]) -> StoreFuture<'a, Vec<DeviceRecord>> {
        let devices = devices.iter().take(DeviceQuery::MAX as usize);
        self.records_of_devices(devices.map(DeviceId::to_string).collect())
    }

    fn device<'a>(&'a self, device: &'a DeviceId) -> StoreFuture<'a, Option<DeviceRecord>> {
        self.read(Lane::Read, device.clone(), |tx, device| {
            Box::pin(async move {
                let sql = format!("SELECT {RECORD} FROM devices WHERE id = $1 AND NOT forgotten");
                let row = tx.query_opt(&sql, &[&device.as_str()]).await?;
                row.as_ref().map(record).transpose()
            })
        })
    }

    fn set_label<'a>(
        &'a self,
        device: &'a DeviceId,
        label: Option<&'a str>,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let mut line = Line::of(by, AuditAction::DeviceLabelled, device);
        line.detail = label.map(str::to_owned);
        let args = (device.clone(), label.map(|label| text(label).into_owned()));
        self.execute_audited(Lane::Later, line, args, |tx, (device, label)| {
            let sql = "UPDATE devices SET label = $2, label_lower = $3
                WHERE id = $1 AND NOT forgotten";
            let lower = label.as_deref().map(str::to_lowercase);
            Box::pin(async move { tx.execute(sql, &[&device.as_str(), label, &lower]).await })
        })
    }

    fn forget<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, ForgetOutcome> {
        let line = Line::of(by, AuditAction::DeviceForgotten, device);
        let (log, args) = (self.shared.log, (device.clone(), line));
        self.write(Lane::Change, args, move |tx, (device, line)| {
            Box::pin(async move {
                match lock(tx, device).await? {
                    None => return Ok(ForgetOutcome::Unknown),
                    Some(Locked { is_blocked: true }) => return Ok(ForgetOutcome::Blocked),
                    Some(Locked { is_blocked: false }) => {}
                }
                let now = unix_now();
                messages::forget_device(tx, device).await?;
                device_queue::forget_device(tx, device, now).await?;
                // The row stays for its generation: an old token must not become valid again.
                let sql = format!(
                    "UPDATE devices
                     SET forgotten = true, label = NULL, label_lower = NULL, first_seen = NULL,
                         last_seen = NULL, registered_by = NULL, registered_at = NULL, registered_from = NULL,
                         returned_at = NULL, {REVOKED},
                         generation = greatest(generation + 1, $2)
                     WHERE id = $1"
                );
                tx.execute(&sql, &[&device.as_str(), &to_column(now)]).await?;
                let forgotten = access_changed(tx, device).await?;
                log.add(tx, &[line.entry(now)]).await?;
                Ok(ForgetOutcome::Done(forgotten))
            })
        })
    }

    fn revoke<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, AccessState> {
        let line = Line::of(by, AuditAction::DeviceRevoked, device);
        let (log, args) = (self.shared.log, (device.clone(), line));
        self.write(Lane::Change, args, move |tx, (device, line)| {
            Box::pin(async move {
                let now = unix_now();
                let sql = format!(
                    "INSERT INTO devices (id, generation) VALUES ($1, greatest(1, $2::bigint))
                     ON CONFLICT (id) DO UPDATE
                     SET generation = greatest(devices.generation + 1, excluded.generation),
                         forgotten = false, {REVOKED}"
                );
                tx.execute(&sql, &[&device.as_str(), &to_column(now)]).await?;
                let revoked = access_changed(tx, device).await?;
                log.add(tx, &[line.entry(now)]).await?;
                Ok(revoked)
            })
        })
    }

    fn block<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> StoreFuture<'a, Option<AccessState>> {
        let line = Line::of(by, AuditAction::DeviceBlocked, device);
        self.write_audited(Lane::Change, line, device.clone(), |tx, device| {
            Box::pin(async move {
                let sql = "INSERT INTO devices (id, blocked_at) VALUES ($1, $2)
                    ON CONFLICT (id) DO UPDATE SET blocked_at = excluded.blocked_at, forgotten = false
                    WHERE devices.blocked_at IS NULL";
                let rows = tx.execute(sql, &[&device.as_str(), &to_column(unix_now())]).await?;
                if rows == 0 { Ok(None) } else { access_changed(tx, device).await.map(Some) }
            })
        })
    }

    fn unblock<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> StoreFuture<'a, Option<AccessState>> {
        let line = Line::of(by, AuditAction::DeviceUnblocked, device);
        self.write_audited(Lane::Change, line, device.clone(), |tx, device| {
            Box::pin(async move {
                let sql = "UPDATE devices SET blocked_at = NULL
                    WHERE id = $1 AND blocked_at IS NOT NULL";
                let rows = tx.execute(sql, &[&device.as_str()]).await?;
                if rows == 0 { Ok(None) } else { access_changed(tx, device).await.map(Some) }
            })
        })
    }

    fn access_states_after(&self, change: u64) -> StoreFuture<'_, Vec<AccessState>> {
        self.read(Lane::First, to_column(change), |tx, change| {
            Box::pin(async move {
                let sql = format!("SELECT {ACCESS} FROM devices WHERE change > $1 ORDER BY change");
                tx.query(&sql, &[change]).await?.iter().map(access_state).collect()
            })
        })
    }
}

/// What `record` reads.
pub(super) const RECORD: &str =
    "id, label, first_seen, last_seen, generation, blocked_at, registered_by,
    registered_at, registered_from, reregistration_until, certificate_key, certificate_refused";

/// What revoking means besides the generation: the latest registration cannot be repeated, no permission to register
/// again is left, and the key of the certificate is refused.
pub(super) const REVOKED: &str = "nonce = NULL, came_by_token = true, reregistration_until = NULL,
    certificate_refused = devices.certificate_key IS NOT NULL";

const ACCESS: &str = "id, generation, blocked_at IS NOT NULL, change";

/// A device that no other transaction changes meanwhile.
struct Locked {
    is_blocked: bool,
}

async fn lock(tx: &Tx, device: &DeviceId) -> Result<Option<Locked>, Failure> {
    let sql =
        "SELECT blocked_at IS NOT NULL FROM devices WHERE id = $1 AND NOT forgotten FOR UPDATE";
    let row = tx.query_opt(sql, &[&device.as_str()]).await?;
    row.map(|row| Ok(Locked { is_blocked: get(&row, 0)? })).transpose()
}

/// Numbers a change of access of a device whose row this transaction has locked. From here to its end, all other such
/// changes wait: nothing but the audit log comes after it.
pub(super) async fn access_changed(tx: &Tx, device: &DeviceId) -> Result<AccessState, Failure> {
    let sql = format!(
        "WITH numbered AS (UPDATE access_changes SET newest = newest + 1 RETURNING newest)
         UPDATE devices SET change = newest FROM numbered WHERE id = $1 RETURNING {ACCESS}"
    );
    access_state(&tx.query_one(&sql, &[&device.as_str()]).await?)
}

pub(super) fn record(row: &Row) -> Result<DeviceRecord, Failure> {
    Ok(DeviceRecord {
        id: device_id(row, 0)?,
        label: get(row, 1)?,
        first_seen: optional_unsigned(row, 2)?,
        last_seen: optional_unsigned(row, 3)?,
        generation: unsigned(row, 4)?,
        blocked_at: optional_unsigned(row, 5)?,
        registration: registration(row, 6)?,
        reregistration_allowed_until: optional_unsigned(row, 9)?,
        certificate_key: bytes(row, 10)?,
        certificate_refused: get(row, 11)?,
    })
}

/// The registration in a column and the two after it.
pub(super) fn registration(row: &Row, column: usize) -> Result<Option<Registration>, Failure> {
    let Some(by) = get::<Option<&str>>(row, column)? else { return Ok(None) };
    let (by, at) = (RegisteredBy::from_text(by), unsigned(row, column + 1)?);
    Ok(Some(Registration { by, at, address: address(row, column + 2)? }))
}

fn access_state(row: &Row) -> Result<AccessState, Failure> {
    Ok(AccessState {
        device: device_id(row, 0)?,
        generation: unsigned(row, 1)?,
        blocked: get(row, 2)?,
        change: unsigned(row, 3)?,
    })
}
