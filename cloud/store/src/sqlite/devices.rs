//! Devices in SQLite.

use std::ops::Bound;

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use super::audit::Log;
use super::{damaged, read, stored, unix_now};
use crate::audit::{Actor, AuditAction};
use crate::device_pattern::DevicePattern;
use crate::devices::{DeviceQuery, DeviceRecord, Forgotten, Standing};

const RECORD: &str = "id, label, first_seen, last_seen, generation, blocked_at";

const STANDING: &str = "id, generation, blocked_at IS NOT NULL, change";

/// The place of the next change among all.
const NEXT_CHANGE: &str = "(SELECT ifnull(max(change), 0) + 1 FROM devices)";

/// Some of the devices that were asked for.
pub(super) struct Page {
    pub(super) devices: Vec<DeviceRecord>,
    /// The device after which to go on; `None` if there are no more to look at.
    pub(super) looked_at: Option<DeviceId>,
}

/// Looks at so many devices at most.
pub(super) fn page(
    database: &Connection,
    query: &DeviceQuery,
    stride: usize,
) -> rusqlite::Result<Page> {
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

pub(super) fn by_id(
    database: &Connection,
    devices: &[DeviceId],
) -> rusqlite::Result<Vec<DeviceRecord>> {
    let known = devices.iter().map(|device| one(database, device).transpose());
    known.flatten().collect()
}

pub(super) fn one(
    database: &Connection,
    device: &DeviceId,
) -> rusqlite::Result<Option<DeviceRecord>> {
    database
        .prepare_cached(&format!("SELECT {RECORD} FROM devices WHERE id = ?1 AND forgotten = 0"))?
        .query_row([device.as_str()], record)
        .optional()
}

pub(super) fn set_label(
    writing: &Transaction<'_>,
    device: &DeviceId,
    label: Option<&str>,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<bool> {
    let known = writing.execute(
        "UPDATE devices SET label = ?2 WHERE id = ?1 AND forgotten = 0",
        params![device.as_str(), label],
    )?;
    if known > 0 {
        log.add(writing, by, AuditAction::DeviceLabelled, Some(device), label)?;
    }
    Ok(known > 0)
}

/// The row stays, since the generation has to: an old token must not become good again.
pub(super) fn forget(
    writing: &Transaction<'_>,
    device: &DeviceId,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<Forgotten> {
    match one(writing, device)? {
        None => return Ok(Forgotten::Unknown),
        Some(record) if record.blocked_at.is_some() => return Ok(Forgotten::Blocked),
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
    log.add(writing, by, AuditAction::DeviceForgotten, Some(device), None)?;
    Ok(Forgotten::Done(standing))
}

pub(super) fn revoke(
    writing: &Transaction<'_>,
    device: &DeviceId,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<Standing> {
    let standing = writing.query_row(
        &format!(
            "INSERT INTO devices (id, generation, change) VALUES (?1, max(1, ?2), {NEXT_CHANGE})
             ON CONFLICT (id) DO UPDATE
             SET generation = max(generation + 1, excluded.generation),
                 change = excluded.change, forgotten = 0
             RETURNING {STANDING}"
        ),
        params![device.as_str(), stored(unix_now())],
        standing,
    )?;
    log.add(writing, by, AuditAction::DeviceRevoked, Some(device), None)?;
    Ok(standing)
}

pub(super) fn block(
    writing: &Transaction<'_>,
    device: &DeviceId,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<Option<Standing>> {
    let changed = writing
        .query_row(
            &format!(
                "INSERT INTO devices (id, blocked_at, change) VALUES (?1, ?2, {NEXT_CHANGE})
                 ON CONFLICT (id) DO UPDATE
                 SET blocked_at = excluded.blocked_at, change = excluded.change, forgotten = 0
                 WHERE blocked_at IS NULL
                 RETURNING {STANDING}"
            ),
            params![device.as_str(), stored(unix_now())],
            standing,
        )
        .optional()?;
    if changed.is_some() {
        log.add(writing, by, AuditAction::DeviceBlocked, Some(device), None)?;
    }
    Ok(changed)
}

pub(super) fn unblock(
    writing: &Transaction<'_>,
    device: &DeviceId,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<Option<Standing>> {
    let changed = writing
        .query_row(
            &format!(
                "UPDATE devices SET blocked_at = NULL, change = {NEXT_CHANGE}
                 WHERE id = ?1 AND blocked_at IS NOT NULL
                 RETURNING {STANDING}"
            ),
            [device.as_str()],
            standing,
        )
        .optional()?;
    if changed.is_some() {
        log.add(writing, by, AuditAction::DeviceUnblocked, Some(device), None)?;
    }
    Ok(changed)
}

pub(super) fn standings_after(
    database: &Connection,
    change: u64,
) -> rusqlite::Result<Vec<Standing>> {
    database
        .prepare_cached(&format!(
            "SELECT {STANDING} FROM devices WHERE change > ?1 ORDER BY change"
        ))?
        .query_map([stored(change)], standing)?
        .collect()
}

/// Notes when a device was connected. One that was forgotten since then stays forgotten.
pub(super) fn seen(
    writing: &Transaction<'_>,
    device: &DeviceId,
    generation: u64,
    at: u64,
) -> rusqlite::Result<()> {
    writing
        .prepare_cached(
            "INSERT INTO devices (id, first_seen, last_seen) VALUES (?1, ?2, ?2)
             ON CONFLICT (id) DO UPDATE
             SET first_seen = min(ifnull(first_seen, excluded.first_seen), excluded.first_seen),
                 last_seen = max(ifnull(last_seen, 0), excluded.last_seen),
                 forgotten = 0
             WHERE forgotten = 0 OR generation <= ?3",
        )?
        .execute(params![device.as_str(), stored(at), stored(generation)])?;
    Ok(())
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

fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    Ok(Standing {
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
