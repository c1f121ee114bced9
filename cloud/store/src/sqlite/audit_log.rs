//! Writes lines of the audit log. Reading them is in `audit`.

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::columns::to_column;
use crate::audit::{AuditClass, AuditEntry, AuditLimits};

#[derive(Debug, Clone, Copy)]
pub(super) struct AuditLog {
    pub(super) limits: AuditLimits,
}

/// How many old lines are deleted at a time, so that nothing waits for it.
const STEP: u32 = 500;

/// The first lines of a class, in order, as far as they are older than `?2`; at most [`STEP`]. Lines of a
/// clock that was ahead of `?5` are passed over, or they would keep all that follow.
const DELETE_OLD: &str = "DELETE FROM audit WHERE sequence IN (
    SELECT sequence FROM
        (SELECT sequence, at FROM audit WHERE class = ?1 AND at <= ?5 ORDER BY sequence LIMIT ?3)
    WHERE at < ?2) AND sequence < ?4";

impl AuditLog {
    /// Adds a line, in the transaction of the change that it is about, and deletes the first ones of its
    /// class if there are too many.
    pub(super) fn add(self, tx: &Connection, entry: &AuditEntry) -> rusqlite::Result<()> {
        let AuditEntry { at, by, action, device, detail: _ } = entry;
        let class = action.class();
        let (first, last) = numbers(tx, class)?;
        let number = last + 1;
        tx.prepare_cached(
            "INSERT INTO audit (class, number, at, actor, address, action, device, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            class.number(),
            number,
            to_column(*at),
            by.as_str(),
            by.address().map(|address| address.to_string()),
            action.as_str(),
            device.as_ref().map(DeviceId::as_str),
            entry.kept_detail(),
        ])?;
        // The newest line of all is never deleted, so that sequence numbers only rise.
        let keep = i64::from(self.limits.of(class).lines.max(1));
        let above = number + 1 - first.unwrap_or(number) - keep;
        if above > 0 {
            tx.prepare_cached(
                "DELETE FROM audit WHERE sequence IN (
                     SELECT sequence FROM audit WHERE class = ?1 ORDER BY sequence LIMIT ?2)",
            )?
            .execute(params![class.number(), above.min(STEP.into())])?;
        }
        Ok(())
    }

    /// Deletes some of the lines that are too old, and returns how many. The newest line of all stays.
    pub(super) fn expire(self, tx: &Transaction<'_>, now: u64) -> rusqlite::Result<usize> {
        let newest: Option<i64> =
            tx.query_row("SELECT max(sequence) FROM audit", [], |row| row.get(0))?;
        let mut deleted = 0;
        for class in AuditClass::ALL {
            let before = to_column(now.saturating_sub(self.limits.of(*class).age.as_secs()));
            let parameters = params![class.number(), before, STEP, newest, to_column(now)];
            deleted += tx.prepare_cached(DELETE_OLD)?.execute(parameters)?;
        }
        Ok(deleted)
    }
}

/// The numbers of the first and of the last line of a class; 0 if there never was one.
fn numbers(tx: &Connection, class: AuditClass) -> rusqlite::Result<(Option<i64>, i64)> {
    let number = |order: &str| {
        tx.prepare_cached(&format!(
            "SELECT number FROM audit WHERE class = ?1 ORDER BY sequence {order} LIMIT 1"
        ))?
        .query_row([class.number()], |row| row.get(0))
        .optional()
    };
    Ok((number("ASC")?, number("DESC")?.unwrap_or(0)))
}
