//! The audit log in SQLite.

use fedecks_protocol::DeviceId;
use rusqlite::{Row, params};

use super::columns::{damaged, read, stored};
use super::store::SqliteStore;
use crate::audit::{AuditAction, AuditEntry, AuditQuery, AuditRecord, AuditStore};
use crate::boxed::BoxFuture;
use crate::error::StoreError;

impl AuditStore for SqliteStore {
    fn audit_later(&self, entry: AuditEntry) {
        self.notes.audit(entry);
    }

    fn audit_page<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<Vec<AuditRecord>, StoreError>> {
        let query = query.clone();
        self.read(move |database| {
            let AuditQuery { before, device, limit } = &query;
            let before = before.map_or(i64::MAX, stored);
            let limit = (*limit).min(AuditQuery::MOST);
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
    let unknown = || damaged(3, format!("{action:?} is no action of the audit log"));
    let device: Option<String> = row.get(4)?;
    let device = device.map(DeviceId::new).transpose().map_err(|error| damaged(4, error))?;
    Ok(AuditRecord {
        sequence: read(row.get(0)?),
        at: read(row.get(1)?),
        by: row.get(2)?,
        action: AuditAction::from_word(&action).ok_or_else(unknown)?,
        device,
        detail: row.get(5)?,
    })
}
