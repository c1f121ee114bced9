//! Pages and counts of all devices in PostgreSQL.

use std::ops::Bound;

use fedecks_protocol::DeviceId;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;

use super::call::CALL_TIMEOUT;
use super::columns::unsigned;
use super::devices::{RECORD, record};
use super::lanes::Lane;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::device_range::{bounds, id_contains, label_contains};
use crate::devices::{DeviceCounts, DeviceQuery, DeviceRecord};
use crate::error::StoreError;

/// The number of rows that a call reads to search in them.
pub(super) const SCAN_ROWS: u32 = 2000;

impl PostgresStore {
    /// A page. Texts are searched for here, as they are in every store; other calls get their turn between the parts.
    pub(super) async fn page_of_devices(
        &self,
        mut query: DeviceQuery,
    ) -> Result<Vec<DeviceRecord>, StoreError> {
        let since = Instant::now();
        query.limit = query.limit.min(DeviceQuery::MAX);
        query.search = query.search.map(|search| search.to_lowercase());
        let limit = query.limit as usize;
        let mut found = Vec::new();
        while found.len() < limit {
            let rows = query.search.as_ref().map_or(query.limit, |_| SCAN_ROWS);
            let part = self.part_of_devices(query.clone(), rows).await?;
            let stopped_at = part.last().map(|last| last.id.clone());
            let is_last = part.len() < rows as usize;
            let search = query.search.as_deref();
            let matching = part.into_iter().filter(|device| matches(device, search));
            found.extend(matching.take(limit - found.len()));
            if is_last || query.search.is_none() {
                break;
            }
            query.after = stopped_at;
            if since.elapsed() >= CALL_TIMEOUT {
                return Err(self.busy());
            }
        }
        Ok(found)
    }

    /// The first devices that a query selects, without its search.
    fn part_of_devices(&self, query: DeviceQuery, rows: u32) -> StoreFuture<'_, Vec<DeviceRecord>> {
        self.read(Lane::Read, (query, rows), |tx, (query, rows)| {
            Box::pin(async move {
                let DeviceQuery { after, scope, blocked, .. } = query;
                let (mut sql, texts) = selected(after.as_ref(), scope.as_ref());
                match blocked {
                    Some(true) => sql.push_str(" AND blocked_at IS NOT NULL"),
                    Some(false) => sql.push_str(" AND blocked_at IS NULL"),
                    None => {}
                }
                let limit = texts.len() + 1;
                let sql =
                    format!("SELECT {RECORD} FROM devices WHERE {sql} ORDER BY id LIMIT ${limit}");
                let rows = i64::from(*rows);
                let mut values: Vec<_> =
                    texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
                values.push(&rows);
                tx.query(&sql, &values).await?.iter().map(record).collect()
            })
        })
    }

    pub(super) fn counts_of_devices(
        &self,
        scope: Option<DevicePattern>,
    ) -> StoreFuture<'_, DeviceCounts> {
        self.read(Lane::Read, scope, |tx, scope| {
            Box::pin(async move {
                let (sql, texts) = selected(None, scope.as_ref());
                let sql = format!("SELECT count(*), count(blocked_at) FROM devices WHERE {sql}");
                let values: Vec<_> = texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
                let row = tx.query_one(&sql, &values).await?;
                Ok(DeviceCounts { known: unsigned(&row, 0)?, blocked: unsigned(&row, 1)? })
            })
        })
    }
}

/// The condition of the devices that are known, in the scope and after one, with its values.
fn selected(after: Option<&DeviceId>, scope: Option<&DevicePattern>) -> (String, Vec<String>) {
    let (lower, upper) = bounds(after, scope);
    let mut conditions = "NOT forgotten".to_owned();
    let mut texts = Vec::new();
    let mut add = |comparison: &str, text: String| {
        texts.push(text);
        conditions.push_str(&format!(" AND id {comparison} ${}", texts.len()));
    };
    match lower {
        Bound::Included(lower) => add(">=", lower),
        Bound::Excluded(lower) => add(">", lower),
        Bound::Unbounded => {}
    }
    if let Some(upper) = upper {
        add("<", upper);
    }
    if let Some(scope) = scope.filter(|scope| !scope.is_prefix()) {
        add("LIKE", like(scope));
    }
    (conditions, texts)
}

/// The same pattern for LIKE.
pub(super) fn like(pattern: &DevicePattern) -> String {
    let mut like = String::new();
    for character in pattern.as_str().chars() {
        match character {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', character]),
            other => like.push(other),
        }
    }
    like
}

fn matches(device: &DeviceRecord, search: Option<&str>) -> bool {
    let Some(search) = search else { return true };
    id_contains(device.id.as_str(), search)
        || device.label.as_ref().is_some_and(|label| label_contains(label, search))
}
