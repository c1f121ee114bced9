//! Pages and counts of all devices in PostgreSQL. They look for devices in `devices_listed`, whose rows and indexes have
//! nothing else, and read the whole rows only of those that they return.

use std::ops::Bound;

use fedecks_protocol::DeviceId;
use tokio_postgres::types::ToSql;

use super::columns::unsigned;
use super::devices::{RECORD, record};
use super::lanes::Lane;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::device_range::bounds;
use crate::devices::{DeviceCounts, DeviceQuery, DeviceRecord};

#[cfg(test)]
mod tests;

/// What is between id and label in `devices_listed.searched`. Neither has it.
const SEPARATOR: char = '\u{1f}';

impl PostgresStore {
    pub(super) fn page_of_devices(
        &self,
        mut query: DeviceQuery,
    ) -> StoreFuture<'_, Vec<DeviceRecord>> {
        query.search = query.search.map(|search| search.to_lowercase());
        if query.search.as_ref().is_some_and(|search| search.contains(['\0', SEPARATOR])) {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.read(Lane::Read, query, |tx, query| {
            Box::pin(async move {
                let (sql, texts) = page(query);
                let limit = i64::from(query.limit.min(DeviceQuery::MAX));
                let mut values = values(&texts);
                values.push(&limit);
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
                let (sql, texts) = counts(scope.as_ref());
                let row = tx.query_one(&sql, &values(&texts)).await?;
                Ok(DeviceCounts { known: unsigned(&row, 0)?, blocked: unsigned(&row, 1)? })
            })
        })
    }

    pub(super) fn records_of_devices(
        &self,
        mut devices: Vec<String>,
    ) -> StoreFuture<'_, Vec<DeviceRecord>> {
        devices.sort_unstable();
        devices.dedup();
        self.read(Lane::Read, devices, |tx, devices| {
            let sql = records("unnest($1::text[]) AS listed");
            Box::pin(async move { tx.query(&sql, &[devices]).await?.iter().map(record).collect() })
        })
    }
}

/// Selects the records of the devices that a part of a statement lists, by looking up each: what the database believes
/// about many of them at a time can be that reading all devices is less.
fn records(listed: &str) -> String {
    format!(
        "SELECT {RECORD} FROM {listed} CROSS JOIN LATERAL
             (SELECT * FROM devices WHERE id = listed AND NOT forgotten OFFSET 0) AS device
         ORDER BY listed"
    )
}

/// The statement of a page, and its values except the last one, the largest number of devices. What is searched for is
/// in lower case.
fn page(query: &DeviceQuery) -> (String, Vec<String>) {
    let (mut conditions, mut texts) = selected(query.after.as_ref(), query.scope.as_ref());
    match query.blocked {
        Some(true) => conditions.push_str(" AND blocked"),
        Some(false) => conditions.push_str(" AND NOT blocked"),
        None => {}
    }
    if let Some(search) = &query.search {
        texts.push(search.clone());
        conditions.push_str(&format!(" AND strpos(searched, ${}) > 0", texts.len()));
    }
    let limit = texts.len() + 1;
    let listed = format!(
        "(SELECT id AS listed FROM devices_listed WHERE {conditions} ORDER BY id LIMIT ${limit})
         AS page"
    );
    (records(&listed), texts)
}

fn counts(scope: Option<&DevicePattern>) -> (String, Vec<String>) {
    let (conditions, texts) = selected(None, scope);
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE blocked) FROM devices_listed WHERE {conditions}"
    );
    (sql, texts)
}

fn values(texts: &[String]) -> Vec<&(dyn ToSql + Sync)> {
    texts.iter().map(|text| text as _).collect()
}

/// The condition of the devices in the scope and after one, with its values.
fn selected(after: Option<&DeviceId>, scope: Option<&DevicePattern>) -> (String, Vec<String>) {
    let (lower, upper) = bounds(after, scope);
    let mut conditions = "true".to_owned();
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
