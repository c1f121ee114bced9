//! Writes lines of the audit log, in the transaction that makes them true.

use fedecks_protocol::DeviceId;
use rusqlite::{Transaction, params};

use super::columns::stored;
use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::time::unix_now;

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
