//! Reads the audit log in SQLite.

use fedecks_protocol::DeviceId;
use rusqlite::{Row, params};

use super::columns::{damaged, to_column, unsigned};
use super::store::SqliteStore;
use crate::audit::{AuditAction, AuditEntry, AuditQuery, AuditRecord, AuditStore};
use crate::boxed::StoreFuture;

impl AuditStore for SqliteStore {
    fn audit_later(&self, entry: AuditEntry) {
        self.write_behind.audit(entry);
    }

    fn audit_page<'a>(&'a self, query: &'a AuditQuery) -> StoreFuture<'a, Vec<AuditRecord>> {
        let query = query.clone();
        self.read(move |database| {
            let AuditQuery { before, device, limit } = &query;
            let before = before.map_or(i64::MAX, to_column);
            let limit = (*limit).min(AuditQuery::MAX);
            let sql = |condition: &str| {
                format!(
                    "SELECT sequence, at, actor, action, device, detail FROM audit
                     WHERE sequence < ?1 {condition} ORDER BY sequence DESC LIMIT ?2"
                )
            };
            match device {
                None => database
                    .prepare_cached(&sql(""))?
                    .query_map(params![before, limit], record)?
                    .collect(),
                Some(device) => database
                    .prepare_cached(&sql("AND device = ?3"))?
                    .query_map(params![before, limit, device.as_str()], record)?
                    .collect(),
            }
        })
    }
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
        action: AuditAction::from_word(&action).ok_or_else(unknown)?,
        device,
        detail: row.get(5)?,
    })
}
