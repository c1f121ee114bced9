//! Pages and counts of all devices in SQLite. Both read the index that has what they look at, and other calls get
//! their turn between the parts of a long one.

use std::ops::Bound;
use std::time::Instant;

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, Params, Row, params_from_iter};

use super::columns::{damaged, unsigned};
use super::devices::{device_id, one};
use super::store::SqliteStore;
use super::worker::CALL_TIMEOUT;
use crate::device_pattern::DevicePattern;
use crate::device_range::{bounds, id_contains, label_contains};
use crate::devices::{DeviceCounts, DeviceQuery, DeviceRecord};
use crate::error::StoreError;

/// The number of rows that a call reads one by one before other calls get their turn.
pub(super) const SCAN_ROWS: usize = 2000;

/// The number of rows that a call lets the database count.
const COUNT_ROWS: usize = 10_000;

impl SqliteStore {
    pub(super) async fn page_of_devices(
        &self,
        mut query: DeviceQuery,
    ) -> Result<Vec<DeviceRecord>, StoreError> {
        let since = Instant::now();
        query.limit = query.limit.min(DeviceQuery::MAX);
        let mut found = Vec::new();
        loop {
            let part = query.clone();
            let Scan { devices, stopped_at } =
                self.read(move |database| scan(database, &part, SCAN_ROWS)).await?;
            query.limit -= u32::try_from(devices.len()).unwrap_or(query.limit);
            found.extend(devices);
            match stopped_at {
                Some(last) if query.limit > 0 => query.after = Some(last),
                _ => return Ok(found),
            }
            if since.elapsed() >= CALL_TIMEOUT {
                return Err(self.busy());
            }
        }
    }

    pub(super) async fn counts_of_devices(
        &self,
        scope: Option<DevicePattern>,
    ) -> Result<DeviceCounts, StoreError> {
        let since = Instant::now();
        let mut counts = DeviceCounts::default();
        let mut after = None;
        loop {
            let scope = scope.clone();
            let part =
                self.read(move |database| count(database, after.as_ref(), scope.as_ref())).await?;
            counts.known += part.counts.known;
            counts.blocked += part.counts.blocked;
            match part.stopped_at {
                Some(last) => after = Some(last),
                None => return Ok(counts),
            }
            if since.elapsed() >= CALL_TIMEOUT {
                return Err(self.busy());
            }
        }
    }
}

/// A part of the answer to a query.
struct Scan {
    devices: Vec<DeviceRecord>,
    /// The last device that was read; `None` if no more are left or needed.
    stopped_at: Option<DeviceId>,
}

/// Reads at most `rows` rows.
fn scan(database: &Connection, query: &DeviceQuery, rows: usize) -> rusqlite::Result<Scan> {
    let DeviceQuery { after, limit, scope, search, blocked } = query;
    let (condition, texts) = in_range(after.as_ref(), scope.as_ref());
    let sql = listed(&condition, *blocked);
    let limit = *limit as usize;
    let search = search.as_ref().map(|search| search.to_lowercase());
    let mut statement = database.prepare_cached(&sql)?;
    let mut result = statement.query(params_from_iter(texts))?;
    let mut devices = Vec::new();
    for number in 1.. {
        if devices.len() >= limit {
            break;
        }
        let Some(row) = result.next()? else { break };
        if matches(row, scope.as_ref(), search.as_deref())? {
            devices.extend(one(database, &device_id(row)?)?);
        }
        if number == rows {
            return Ok(Scan { devices, stopped_at: Some(device_id(row)?) });
        }
    }
    Ok(Scan { devices, stopped_at: None })
}

fn listed(condition: &str, blocked: Option<bool>) -> String {
    let (index, blocked) = match blocked {
        // Few are blocked, so that their labels may be read from the table.
        Some(true) => ("devices_blocked", " AND blocked_at IS NOT NULL"),
        Some(false) => ("devices_listed", " AND blocked_at IS NULL"),
        None => ("devices_listed", ""),
    };
    format!(
        "SELECT id, label FROM devices INDEXED BY {index} WHERE {condition}{blocked} ORDER BY id"
    )
}

/// A part of a count.
struct Counted {
    counts: DeviceCounts,
    /// The last device that was counted; `None` if no more are left.
    stopped_at: Option<DeviceId>,
}

fn count(
    database: &Connection,
    after: Option<&DeviceId>,
    scope: Option<&DevicePattern>,
) -> rusqlite::Result<Counted> {
    let (condition, texts) = in_range(after, scope);
    let (listed, texts) = (counted(&condition), params_from_iter(texts));
    match scope.filter(|scope| !scope.is_prefix()) {
        None => count_range(database, &listed, texts),
        Some(scope) => count_matches(database, &listed, texts, scope),
    }
}

/// Counts all rows.
fn count_range(
    database: &Connection,
    listed: &str,
    texts: impl Params,
) -> rusqlite::Result<Counted> {
    let sql =
        format!("SELECT count(*), count(blocked_at), max(id) FROM ({listed} LIMIT {COUNT_ROWS})");
    database.prepare_cached(&sql)?.query_row(texts, |row| {
        let counts = DeviceCounts { known: unsigned(row, 0)?, blocked: unsigned(row, 1)? };
        let is_last = counts.known < COUNT_ROWS as u64;
        let stopped_at = if is_last { None } else { Some(device_in(row, 2)?) };
        Ok(Counted { counts, stopped_at })
    })
}

/// Counts the rows that a pattern matches which is more than a prefix.
fn count_matches(
    database: &Connection,
    listed: &str,
    texts: impl Params,
    scope: &DevicePattern,
) -> rusqlite::Result<Counted> {
    let mut counts = DeviceCounts::default();
    let mut statement = database.prepare_cached(listed)?;
    let mut result = statement.query(texts)?;
    for number in 1.. {
        let Some(row) = result.next()? else { break };
        if matches(row, Some(scope), None)? {
            counts.known += 1;
            counts.blocked += u64::from(row.get::<_, Option<i64>>(1)?.is_some());
        }
        if number == SCAN_ROWS {
            return Ok(Counted { counts, stopped_at: Some(device_id(row)?) });
        }
    }
    Ok(Counted { counts, stopped_at: None })
}

/// Without the hint SQLite would read the table, which has everything else too.
fn counted(condition: &str) -> String {
    format!(
        "SELECT id, blocked_at FROM devices INDEXED BY devices_listed WHERE {condition} ORDER BY id"
    )
}

/// The condition of the devices that are known and in the range to read, with its parameters.
fn in_range(after: Option<&DeviceId>, scope: Option<&DevicePattern>) -> (String, Vec<String>) {
    let (lower, upper) = bounds(after, scope);
    let mut sql = "forgotten = 0".to_owned();
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
    (sql, texts)
}

/// Whether the device of a row is in the scope and has `search`, which is in lower case, in its id or
/// label.
fn matches(
    row: &Row<'_>,
    scope: Option<&DevicePattern>,
    search: Option<&str>,
) -> rusqlite::Result<bool> {
    let id = row.get_ref(0)?.as_str().map_err(|error| damaged(0, error))?;
    if !scope.is_none_or(|scope| scope.matches_text(id)) {
        return Ok(false);
    }
    let Some(search) = search else { return Ok(true) };
    if id_contains(id, search) {
        return Ok(true);
    }
    let label = row.get_ref(1)?.as_str_or_null().map_err(|error| damaged(1, error))?;
    Ok(label.is_some_and(|label| label_contains(label, search)))
}

/// The device id in a column.
fn device_in(row: &Row<'_>, column: usize) -> rusqlite::Result<DeviceId> {
    DeviceId::new(row.get::<_, String>(column)?).map_err(|error| damaged(column, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema::{self, IfEmpty};

    #[test]
    fn lists_and_counts_read_an_index_in_order() {
        let mut database = Connection::open_in_memory().unwrap();
        schema::prepare(&mut database, "memory", IfEmpty::Create).unwrap();
        let after = DeviceId::new("gw-5").unwrap();
        let scope = "gw-*".parse().unwrap();
        for (after, scope) in [(None, None), (Some(&after), None), (Some(&after), Some(&scope))] {
            let (condition, texts) = in_range(after, scope);
            let mut statements = vec![(counted(&condition), "COVERING INDEX devices_listed")];
            for (blocked, index) in [
                (None, "COVERING INDEX devices_listed"),
                (Some(false), "COVERING INDEX devices_listed"),
                (Some(true), "INDEX devices_blocked"),
            ] {
                statements.push((listed(&condition, blocked), index));
            }
            for (sql, index) in statements {
                let plan = plan_of(&database, &sql, &texts);
                let verb = if texts.is_empty() { "SCAN" } else { "SEARCH" };
                assert!(
                    plan.starts_with(&format!("{verb} devices USING {index}"))
                        && !plan.contains("SORT"),
                    "{sql}: {plan}"
                );
            }
        }
    }

    fn plan_of(database: &Connection, sql: &str, texts: &[String]) -> String {
        let mut statement = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.query_map(params_from_iter(texts), |row| row.get(3)).unwrap();
        steps.collect::<Result<Vec<String>, _>>().unwrap().join("; ")
    }
}
