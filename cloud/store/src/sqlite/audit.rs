//! Reads the audit log in SQLite.

use fedecks_protocol::DeviceId;
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::columns::{address, damaged, to_column, unsigned};
use super::store::SqliteStore;
use crate::audit::{AuditAction, AuditEntry, AuditQuery, AuditRecord, AuditStore};
use crate::boxed::StoreFuture;

impl AuditStore for SqliteStore {
    fn audit_later(&self, entry: AuditEntry) {
        self.write_behind.audit(entry);
    }

    fn audit_page<'a>(&'a self, query: &'a AuditQuery) -> StoreFuture<'a, Vec<AuditRecord>> {
        let (sql, values) = select(query);
        self.read(move |database| {
            database.prepare_cached(&sql)?.query_map(params_from_iter(&values), record)?.collect()
        })
    }

    fn expire_audit(&self, now: u64) -> StoreFuture<'_, usize> {
        let log = self.log;
        self.write_bulk(move |tx| log.expire(tx, now))
    }
}

/// The statement of a page, and its values. There is an index for each of the filters; the plus sign keeps
/// SQLite from choosing the one that selects least.
fn select(query: &AuditQuery) -> (String, Vec<Value>) {
    let AuditQuery { before, class, device, by, limit } = query;
    let before = before.map_or(i64::MAX, to_column);
    let limit = (*limit).min(AuditQuery::MAX);
    let mut values: Vec<Value> = vec![before.into(), i64::from(limit).into()];
    let mut sql = "SELECT sequence, at, actor, action, device, detail, address FROM audit
                   WHERE sequence < ?1"
        .to_owned();
    let filters: [(&str, Option<Value>); 3] = [
        ("device", device.as_ref().map(|device| device.as_str().to_owned().into())),
        ("actor", by.clone().map(Value::from)),
        ("class", class.map(|class| i64::from(class.number()).into())),
    ];
    let mut indexed = false;
    for (column, value) in filters {
        let Some(value) = value else { continue };
        values.push(value);
        let plus = if indexed { "+" } else { "" };
        sql.push_str(&format!(" AND {plus}{column} = ?{}", values.len()));
        indexed = true;
    }
    sql.push_str(" ORDER BY sequence DESC LIMIT ?2");
    (sql, values)
}

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let action: String = row.get(3)?;
    let unknown = || damaged(3, format!("{action:?} is not an action of the audit log"));
    let device: Option<String> = row.get(4)?;
    let device = device.map(DeviceId::new).transpose().map_err(|error| damaged(4, error))?;
    Ok(AuditRecord {
        sequence: unsigned(row, 0)?,
        at: unsigned(row, 1)?,
        by: row.get(2)?,
        address: address(row, 6)?,
        action: AuditAction::from_word(&action).ok_or_else(unknown)?,
        device,
        detail: row.get(5)?,
    })
}
