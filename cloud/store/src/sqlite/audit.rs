//! The audit log in SQLite.

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, Row, Transaction, params};

use super::{damaged, read, stored, unix_now};
use crate::audit::{Actor, AuditAction, AuditEntry, AuditQuery, AuditRecord};

/// How the audit log is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    /// How many lines it keeps.
    pub(super) kept: u32,
}

/// How much of a detail is kept, in characters.
const MAX_DETAIL_CHARS: usize = 256;

impl Log {
    /// Adds a line about something that happens now, in the transaction that makes it happen.
    pub(super) fn add(
        self,
        writing: &Transaction<'_>,
        by: &Actor,
        action: AuditAction,
        device: Option<&DeviceId>,
        detail: Option<&str>,
    ) -> rusqlite::Result<()> {
        self.insert(writing, unix_now(), by, action, device, detail)
    }

    /// Adds a line about something that was noted.
    pub(super) fn add_noted(
        self,
        writing: &Transaction<'_>,
        entry: &AuditEntry,
    ) -> rusqlite::Result<()> {
        let AuditEntry { at, by, action, device, detail } = entry;
        self.insert(writing, *at, by, *action, device.as_ref(), detail.as_deref())
    }

    fn insert(
        self,
        writing: &Transaction<'_>,
        at: u64,
        by: &Actor,
        action: AuditAction,
        device: Option<&DeviceId>,
        detail: Option<&str>,
    ) -> rusqlite::Result<()> {
        let device = device.map(DeviceId::as_str);
        let detail = detail.map(|detail| match detail.char_indices().nth(MAX_DETAIL_CHARS) {
            None => detail,
            Some((end, _)) => &detail[..end],
        });
        writing
            .prepare_cached(
                "INSERT INTO audit (at, actor, action, device, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![stored(at), by.as_str(), action.as_str(), device, detail])?;
        // The newest line is never deleted, so the next one has a higher place than any before.
        let oldest_kept = writing.last_insert_rowid().saturating_sub(i64::from(self.kept.max(1)));
        writing.prepare_cached("DELETE FROM audit WHERE sequence <= ?1")?.execute([oldest_kept])?;
        Ok(())
    }
}

pub(super) fn page(
    database: &Connection,
    query: &AuditQuery,
) -> rusqlite::Result<Vec<AuditRecord>> {
    let AuditQuery { before, device, limit } = query;
    let before = before.map_or(i64::MAX, stored);
    let limit = (*limit).min(AuditQuery::MOST);
    let sql = |condition: &str| {
        format!(
            "SELECT sequence, at, actor, action, device, detail FROM audit
             WHERE sequence < ?1 {condition} ORDER BY sequence DESC LIMIT ?2"
        )
    };
    match device {
        None => {
            database.prepare_cached(&sql(""))?.query_map(params![before, limit], record)?.collect()
        }
        Some(device) => database
            .prepare_cached(&sql("AND device = ?3"))?
            .query_map(params![before, limit, device.as_str()], record)?
            .collect(),
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
