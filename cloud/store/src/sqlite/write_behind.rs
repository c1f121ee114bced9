//! Writes what the write-behind buffer has to the file. The worker says when.

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::audit_log::AuditLog;
use super::columns::{later, to_column};
use super::login_notes;
use super::seen_notes::write_seen;
use crate::notes::{Pending, WriteBehind};

/// Writes what is pending, up to a number, in one transaction. If that fails, it stays pending. Returns whether
/// the next flush is due at once.
pub(super) fn flush(
    notes: &WriteBehind,
    database: &mut Connection,
    log: AuditLog,
) -> rusqlite::Result<bool> {
    let Some(pending) = notes.take() else { return Ok(false) };
    if let Err(error) = write(&pending, database, log) {
        notes.put_back(pending);
        return Err(error);
    }
    notes.written();
    Ok(notes.is_much())
}

/// Writes the note of a device at once, with what refers to the device. It stays pending in case that fails.
pub(super) fn write_note_of(
    notes: &WriteBehind,
    tx: &Connection,
    device: &DeviceId,
) -> rusqlite::Result<()> {
    notes.note_of(device).map_or(Ok(()), |seen| write_seen(tx, vec![(device, seen)]))
}

fn write(pending: &Pending, database: &mut Connection, log: AuditLog) -> rusqlite::Result<()> {
    let tx = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !pending.seen.is_empty() {
        write_seen(&tx, pending.seen.iter().map(|(device, seen)| (device, *seen)).collect())?;
    }
    for (name, at) in &pending.used {
        write_used(&tx, name, *at)?;
    }
    for ((account, network), at) in &pending.logins {
        login_notes::write(&tx, account, *network, *at)?;
    }
    if !pending.logins.is_empty() {
        login_notes::bound(&tx)?;
    }
    for entry in &pending.audit {
        log.add(&tx, entry)?;
    }
    tx.commit()
}

/// Notes when a token was used last, if it still exists.
fn write_used(tx: &Transaction<'_>, name: &str, at: u64) -> rusqlite::Result<()> {
    tx.prepare_cached(&format!(
        "UPDATE api_tokens SET last_used = {} WHERE name = ?1",
        later("last_used")
    ))?
    .execute(params![name, to_column(at)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditLimits;
    use crate::conformance::support::device;

    #[test]
    fn what_a_failed_flush_did_not_write_stays_pending() {
        let notes = WriteBehind::default();
        let mut without_tables = Connection::open_in_memory().unwrap();
        let log = AuditLog { limits: AuditLimits::default() };
        for at in [1, 2] {
            notes.seen(&device("1"), 0, at, false);
            assert!(flush(&notes, &mut without_tables, log).is_err());
            assert_eq!(notes.len(), 1);
        }
    }
}
