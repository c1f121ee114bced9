//! Writes lines of the audit log. Reading them is in `audit`.

use fedecks_protocol::DeviceId;
use rusqlite::{Transaction, params};

use super::columns::to_column;
use crate::audit::AuditEntry;

#[derive(Debug, Clone, Copy)]
pub(super) struct AuditLog {
    /// The number of lines that the log keeps.
    pub(super) keep: u32,
}

/// How much of a detail is stored.
const MAX_DETAIL_CHARS: usize = 256;

impl AuditLog {
    /// Adds a line, in the transaction of the change that it is about.
    pub(super) fn add(self, tx: &Transaction<'_>, entry: &AuditEntry) -> rusqlite::Result<()> {
        let AuditEntry { at, by, action, device, detail } = entry;
        let device = device.as_ref().map(DeviceId::as_str);
        let detail = detail.as_deref().map(|detail| {
            let end = detail.char_indices().nth(MAX_DETAIL_CHARS);
            &detail[..end.map_or(detail.len(), |(end, _)| end)]
        });
        tx.prepare_cached(
            "INSERT INTO audit (at, actor, action, device, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![to_column(*at), by.as_str(), action.as_str(), device, detail])?;
        // The newest line is never deleted, so that sequence numbers only rise.
        let last_dropped = tx.last_insert_rowid().saturating_sub(i64::from(self.keep.max(1)));
        tx.prepare_cached("DELETE FROM audit WHERE sequence <= ?1")?.execute([last_dropped])?;
        Ok(())
    }
}
