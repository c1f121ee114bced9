//! Devices in SQLite.

use std::ops::Bound;
use std::time::Instant;

use fedecks_protocol::DeviceId;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::columns::{damaged, read, stored};
use super::store::SqliteStore;
use super::worker::PATIENCE;
use crate::audit::{Actor, AuditAction};
use crate::boxed::BoxFuture;
use crate::device_pattern::DevicePattern;
use crate::devices::{AccessState, DeviceQuery, DeviceRecord, DeviceStore, ForgetOutcome};
use crate::error::StoreError;
use crate::time::unix_now;

/// How many devices a call looks at before others have their turn.
pub(super) const STRIDE: usize = 2000;

impl DeviceStore for SqliteStore {
    fn seen(&self, device: &DeviceId, generation: u64, at: u64) {
        self.notes.seen(device, generation, at);
    }

    fn devices_page<'a>(
        &'a self,
        query: &'a DeviceQuery,
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>> {
        let since = Instant::now();
        Box::pin(async move {
            let mut query = query.clone();
            query.limit = query.limit.min(DeviceQuery::MOST);
            let mut found = Vec::new();
            loop {
                let asked = query.clone();
                let look = move |database: &mut _| page(database, &asked, STRIDE);
                let Page { devices, looked_at } = self.read(look).await?;
                query.limit -= u32::try_from(devices.len()).unwrap_or(query.limit);
                found.extend(devices);
                match looked_at {
                    Some(last) if query.limit > 0 => query.after = Some(last),
                    Some(_) | None => return Ok(found),
                }
                if since.elapsed() >= PATIENCE {
                    return Err(self.busy());
                }
            }
        })
    }

    fn devices_by_id<'a>(
        &'a self,
        devices: &'a [DeviceId],
    ) -> BoxFuture<'a, Result<Vec<DeviceRecord>, StoreError>> {
        let most = DeviceQuery::MOST as usize;
        let mut devices: Vec<_> = devices.iter().take(most).cloned().collect();
        devices.sort_unstable();
        devices.dedup();
        self.read(move |database| {
            let known = devices.iter().map(|device| one(database, device).transpose());
            known.flatten().collect()
        })
    }

    fn device<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<Option<DeviceRecord>, StoreError>> {
        let device = device.clone();
        self.read(move |database| one(database, &device))
    }

    fn set_label<'a>(
        &'a self,
        device: &'a DeviceId,
        label: Option<&'a str>,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        let label = label.map(str::to_owned);
        self.write(move |writing| {
            let known = writing.execute(
                "UPDATE devices SET label = ?2 WHERE id = ?1 AND forgotten = 0",
                params![device.as_str(), label],
            )?;
            if known > 0 {
                log.add(
                    writing,
                    &by,
                    AuditAction::DeviceLabelled,
                    Some(&device),
                    label.as_deref(),
                )?;
            }
            Ok(known > 0)
        })
    }

    fn forget<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<ForgetOutcome, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |writing| {
            // The row stays, since the generation has to: an old token must not become good again.
            match one(writing, &device)? {
                None => return Ok(ForgetOutcome::Unknown),
                Some(record) if record.blocked_at.is_some() => return Ok(ForgetOutcome::Blocked),
                Some(_) => {}
            }
            let standing = writing.query_row(
                &format!(
                    "UPDATE devices
                     SET forgotten = 1, label = NULL, first_seen = NULL, last_seen = NULL,
                         generation = max(generation + 1, ?2), change = {NEXT_CHANGE}
                     WHERE id = ?1
                     RETURNING {STANDING}"
                ),
                params![device.as_str(), stored(unix_now())],
                standing,
            )?;
            log.add(writing, &by, AuditAction::DeviceForgotten, Some(&device), None)?;
            Ok(ForgetOutcome::Done(standing))
        })
    }

    fn revoke<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<AccessState, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |writing| {
            let standing = writing.query_row(
                &format!(
                    "INSERT INTO devices (id, generation, change)
                     VALUES (?1, max(1, ?2), {NEXT_CHANGE})
                     ON CONFLICT (id) DO UPDATE
                     SET generation = max(generation + 1, excluded.generation),
                         change = excluded.change, forgotten = 0
                     RETURNING {STANDING}"
                ),
                params![device.as_str(), stored(unix_now())],
                standing,
            )?;
            log.add(writing, &by, AuditAction::DeviceRevoked, Some(&device), None)?;
            Ok(standing)
        })
    }

    fn block<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<AccessState>, StoreError>> {
        let sql = format!(
            "INSERT INTO devices (id, blocked_at, change)
             VALUES (?1, ?2, {NEXT_CHANGE})
             ON CONFLICT (id) DO UPDATE
             SET blocked_at = excluded.blocked_at, change = excluded.change, forgotten = 0
             WHERE blocked_at IS NULL
             RETURNING {STANDING}"
        );
        let values = vec![device.as_str().to_owned().into(), stored(unix_now()).into()];
        self.change_standing(sql, values, AuditAction::DeviceBlocked, device, by)
    }

    fn unblock<'a>(
        &'a self,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<AccessState>, StoreError>> {
        let sql = format!(
            "UPDATE devices SET blocked_at = NULL, change = {NEXT_CHANGE}
             WHERE id = ?1 AND blocked_at IS NOT NULL
             RETURNING {STANDING}"
        );
        let values = vec![device.as_str().to_owned().into()];
        self.change_standing(sql, values, AuditAction::DeviceUnblocked, device, by)
    }

    fn standings_after(&self, change: u64) -> BoxFuture<'_, Result<Vec<AccessState>, StoreError>> {
        self.read_first(move |database| {
            database
                .prepare_cached(&format!(
                    "SELECT {STANDING} FROM devices WHERE change > ?1 ORDER BY change"
                ))?
                .query_map([stored(change)], standing)?
                .collect()
        })
    }
}

impl SqliteStore {
    /// Changes a device by a statement that returns its new standing, and its line in the audit log; none if
    /// there was nothing to change.
    fn change_standing<'a>(
        &'a self,
        sql: String,
        values: Vec<Value>,
        action: AuditAction,
        device: &'a DeviceId,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<Option<AccessState>, StoreError>> {
        let (log, device, by) = (self.log, device.clone(), by.clone());
        self.write(move |writing| {
            let changed =
                writing.query_row(&sql, params_from_iter(&values), standing).optional()?;
            if changed.is_some() {
                log.add(writing, &by, action, Some(&device), None)?;
            }
            Ok(changed)
        })
    }
}

const RECORD: &str = "id, label, first_seen, last_seen, generation, blocked_at";

const STANDING: &str = "id, generation, blocked_at IS NOT NULL, change";

/// The place of the next change among all.
const NEXT_CHANGE: &str = "(SELECT ifnull(max(change), 0) + 1 FROM devices)";

/// Some of the devices that were asked for.
struct Page {
    devices: Vec<DeviceRecord>,
    /// The device after which to go on; `None` if there are no more to look at.
    looked_at: Option<DeviceId>,
}

/// Looks at so many devices at most.
fn page(database: &Connection, query: &DeviceQuery, stride: usize) -> rusqlite::Result<Page> {
    let DeviceQuery { after, limit, scope, search, blocked } = query;
    let (lower, upper) = bounds(after.as_ref(), scope.as_ref());
    let mut sql = format!("SELECT {RECORD} FROM devices WHERE forgotten = 0");
    let mut texts = Vec::new();
    match lower {
        Bound::Included(lower) => {
            sql.push_str(" AND id >= ?");
            texts.push(lower);
        }
        Bound::Excluded(lower) => {
            sql.push_str(" AND id > ?");
            texts.push(lower);
        }
        Bound::Unbounded => {}
    }
    if let Some(upper) = upper {
        sql.push_str(" AND id < ?");
        texts.push(upper);
    }
    match blocked {
        Some(true) => sql.push_str(" AND blocked_at IS NOT NULL"),
        Some(false) => sql.push_str(" AND blocked_at IS NULL"),
        None => {}
    }
    sql.push_str(" ORDER BY id");
    let limit = *limit as usize;
    let search = search.as_ref().map(|search| search.to_lowercase());
    let mut statement = database.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(texts))?;
    let mut devices = Vec::new();
    for number in 1.. {
        if devices.len() >= limit {
            break;
        }
        let Some(row) = rows.next()? else { break };
        if is_wanted(row, scope.as_ref(), search.as_deref())? {
            devices.push(record(row)?);
        }
        if number == stride {
            let looked_at = Some(device_id(row)?);
            return Ok(Page { devices, looked_at });
        }
    }
    Ok(Page { devices, looked_at: None })
}

/// Whether a row is of a device in the scope that has the text, in lower case, in its id or label.
fn is_wanted(
    row: &Row<'_>,
    scope: Option<&DevicePattern>,
    search: Option<&str>,
) -> rusqlite::Result<bool> {
    let id = row.get_ref(0)?.as_str().map_err(|error| damaged(0, error))?;
    if !scope.is_none_or(|scope| scope.matches_text(id)) {
        return Ok(false);
    }
    let Some(search) = search else { return Ok(true) };
    let label = row.get_ref(1)?.as_str_or_null().map_err(|error| damaged(1, error))?;
    Ok(contains(id, search) || label.is_some_and(|label| label.to_lowercase().contains(search)))
}

/// From where to where to look. A device id is ASCII without control characters, so that no id comes
/// after all that begin with the prefix and before the prefix with DEL.
fn bounds(
    after: Option<&DeviceId>,
    scope: Option<&DevicePattern>,
) -> (Bound<String>, Option<String>) {
    let after = after.map(DeviceId::as_str);
    let prefix = scope.map(DevicePattern::prefix).filter(|prefix| !prefix.is_empty());
    let lower = match (after, prefix) {
        (None, None) => Bound::Unbounded,
        (Some(after), Some(prefix)) if after < prefix => Bound::Included(prefix.to_owned()),
        (Some(after), _) => Bound::Excluded(after.to_owned()),
        (None, Some(prefix)) => Bound::Included(prefix.to_owned()),
    };
    (lower, prefix.map(|prefix| format!("{prefix}\u{7f}")))
}

/// Whether an id, which is ASCII, has `wanted` in it, which is in lower case.
fn contains(id: &str, wanted: &str) -> bool {
    let (id, wanted) = (id.as_bytes(), wanted.as_bytes());
    wanted.is_empty() || id.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
}

fn one(database: &Connection, device: &DeviceId) -> rusqlite::Result<Option<DeviceRecord>> {
    database
        .prepare_cached(&format!("SELECT {RECORD} FROM devices WHERE id = ?1 AND forgotten = 0"))?
        .query_row([device.as_str()], record)
        .optional()
}

fn record(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    Ok(DeviceRecord {
        id: device_id(row)?,
        label: row.get(1)?,
        first_seen: row.get::<_, Option<i64>>(2)?.map(read),
        last_seen: row.get::<_, Option<i64>>(3)?.map(read),
        generation: read(row.get(4)?),
        blocked_at: row.get::<_, Option<i64>>(5)?.map(read),
    })
}

fn standing(row: &Row<'_>) -> rusqlite::Result<AccessState> {
    Ok(AccessState {
        device: device_id(row)?,
        generation: read(row.get(1)?),
        blocked: row.get(2)?,
        change: read(row.get(3)?),
    })
}

/// The device id in the first column.
fn device_id(row: &Row<'_>) -> rusqlite::Result<DeviceId> {
    DeviceId::new(row.get::<_, String>(0)?).map_err(|error| damaged(0, error))
}
