//! The write-behind buffer: notes and audit lines that no caller waits for, written many at a time. It
//! does not know when; the worker flushes it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};

use fedecks_protocol::DeviceId;
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::audit_log::AuditLog;
use super::columns::to_column;
use crate::api_tokens::ApiToken;
use crate::audit::AuditEntry;

#[derive(Default)]
pub(super) struct WriteBehind {
    pending: Mutex<Pending>,
    dropped: AtomicU64,
    audit_dropped: AtomicU64,
}

#[derive(Default)]
struct Pending {
    seen: HashMap<DeviceId, Seen>,
    used: HashMap<String, u64>,
    audit: Vec<AuditEntry>,
}

/// A device's latest note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    generation: u64,
    at: u64,
}

/// The number of devices that notes are kept of.
const MAX_SEEN: usize = 100_000;

/// The number of API tokens.
const MAX_USED: usize = ApiToken::MAX as usize;

/// The number of lines of the audit log.
const MAX_AUDIT: usize = 10_000;

/// How many notes, and how many lines, a flush writes. Calls wait for it.
const FLUSHED: usize = 2000;

impl WriteBehind {
    pub(super) fn seen(&self, device: &DeviceId, generation: u64, at: u64) {
        if !self.pending.lock().add_seen(device, Seen { generation, at }) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn used(&self, name: &str, at: u64) {
        if !self.pending.lock().add_used(name, at) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn audit(&self, entry: AuditEntry) {
        let mut pending = self.pending.lock();
        if pending.audit.len() < MAX_AUDIT {
            pending.audit.push(entry);
        } else {
            self.audit_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The numbers of notes and of lines of the audit log that were dropped.
    pub(super) fn dropped(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.audit_dropped.load(Ordering::Relaxed))
    }

    /// The number of notes and lines that are not written yet.
    pub(super) fn len(&self) -> u64 {
        self.pending.lock().len() as u64
    }

    /// Writes what is pending, up to a number, in one transaction. If that fails, it stays pending. Returns
    /// whether the next flush is due at once.
    pub(super) fn flush(&self, database: &mut Connection, log: AuditLog) -> rusqlite::Result<bool> {
        let pending = self.pending.lock().take();
        if pending.len() == 0 {
            return Ok(false);
        }
        if let Err(error) = pending.write(database, log) {
            self.put_back(pending);
            return Err(error);
        }
        Ok(self.pending.lock().is_much())
    }

    /// Puts back what could not be written, before what arrived since.
    fn put_back(&self, older: Pending) {
        let mut pending = self.pending.lock();
        let newer = std::mem::replace(&mut *pending, older);
        let mut dropped = 0;
        for (device, seen) in newer.seen {
            dropped += u64::from(!pending.add_seen(&device, seen));
        }
        for (name, at) in newer.used {
            dropped += u64::from(!pending.add_used(&name, at));
        }
        pending.audit.extend(newer.audit);
        let audit_dropped = pending.audit.len().saturating_sub(MAX_AUDIT) as u64;
        pending.audit.truncate(MAX_AUDIT);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.audit_dropped.fetch_add(audit_dropped, Ordering::Relaxed);
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.seen.len() + self.used.len() + self.audit.len()
    }

    /// Whether it takes more than one flush.
    fn is_much(&self) -> bool {
        self.seen.len() > FLUSHED || self.audit.len() > FLUSHED
    }

    /// Takes what one flush writes.
    fn take(&mut self) -> Self {
        if !self.is_much() {
            return std::mem::take(self);
        }
        let devices: Vec<_> = self.seen.keys().take(FLUSHED).cloned().collect();
        let seen = devices.iter().filter_map(|device| self.seen.remove_entry(device)).collect();
        let lines = self.audit.len().min(FLUSHED);
        let audit = self.audit.drain(..lines).collect();
        Self { seen, used: std::mem::take(&mut self.used), audit }
    }

    /// Returns false if it is full.
    fn add_seen(&mut self, device: &DeviceId, seen: Seen) -> bool {
        if let Some(known) = self.seen.get_mut(device) {
            known.at = known.at.max(seen.at);
            known.generation = known.generation.max(seen.generation);
            return true;
        }
        let has_room = self.seen.len() < MAX_SEEN;
        if has_room {
            self.seen.insert(device.clone(), seen);
        }
        has_room
    }

    /// Returns false if it is full.
    fn add_used(&mut self, name: &str, at: u64) -> bool {
        let full = self.used.len() >= MAX_USED;
        match self.used.entry(name.to_owned()) {
            Entry::Vacant(_) if full => return false,
            entry => {
                let latest = entry.or_default();
                *latest = at.max(*latest);
            }
        }
        true
    }

    fn write(&self, database: &mut Connection, log: AuditLog) -> rusqlite::Result<()> {
        let tx = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (device, Seen { generation, at }) in &self.seen {
            write_seen(&tx, device, *generation, *at)?;
        }
        for (name, at) in &self.used {
            write_used(&tx, name, *at)?;
        }
        for entry in &self.audit {
            log.add(&tx, entry)?;
        }
        tx.commit()
    }
}

/// Notes when a device was connected. A device that was forgotten since then stays forgotten.
fn write_seen(
    tx: &Transaction<'_>,
    device: &DeviceId,
    generation: u64,
    at: u64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(&format!(
        "INSERT INTO devices (id, first_seen, last_seen) VALUES (?1, ?2, ?2)
             ON CONFLICT (id) DO UPDATE
             SET first_seen = min(ifnull(first_seen, excluded.first_seen), excluded.first_seen),
                 last_seen = {},
                 forgotten = 0
             WHERE forgotten = 0 OR generation <= ?3",
        later("last_seen")
    ))?
    .execute(params![device.as_str(), to_column(at), to_column(generation)])?;
    Ok(())
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

/// The later of a column and the parameter 2. But what is more than a day later was noted by a clock that
/// was ahead; without this it would stay until that time has come.
fn later(column: &str) -> String {
    format!("CASE WHEN {column} > ?2 AND {column} <= ?2 + 86400 THEN {column} ELSE ?2 END")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, AuditAction};
    use crate::conformance::support::device;

    fn entry(at: u64) -> AuditEntry {
        let (by, action) = (Actor::token("ci"), AuditAction::MessageSent);
        AuditEntry { at, by, action, device: None, detail: None }
    }

    #[test]
    fn notes_beyond_the_limits_are_dropped_and_counted() {
        let buffer = WriteBehind::default();
        for number in 0..MAX_SEEN + 3 {
            buffer.seen(&device(&number.to_string()), 0, 1);
        }
        buffer.seen(&device("0"), 5, 2);
        for number in 0..MAX_USED + 2 {
            buffer.used(&number.to_string(), 1);
        }
        buffer.used("0", 7);
        for at in 0..MAX_AUDIT as u64 + 4 {
            buffer.audit(entry(at));
        }
        assert_eq!(buffer.dropped(), (5, 4));
        assert_eq!(buffer.len(), (MAX_SEEN + MAX_USED + MAX_AUDIT) as u64);
        let pending = buffer.pending.lock();
        assert_eq!(pending.seen[&device("0")], Seen { generation: 5, at: 2 });
        assert_eq!(pending.used["0"], 7);
    }

    #[test]
    fn a_failed_flush_keeps_order_and_limits() {
        let buffer = WriteBehind::default();
        let mut without_tables = Connection::open_in_memory().unwrap();
        for at in [1, 2] {
            buffer.seen(&device("1"), 0, at);
            buffer.audit(entry(at));
            assert!(buffer.flush(&mut without_tables, AuditLog { keep: 10 }).is_err());
        }
        assert_eq!(buffer.dropped(), (0, 0));

        let older = std::mem::take(&mut *buffer.pending.lock());
        for at in 3..MAX_AUDIT as u64 + 3 {
            buffer.audit(entry(at));
        }
        buffer.put_back(older);
        assert_eq!(buffer.dropped(), (0, 2));
        let pending = buffer.pending.lock();
        assert_eq!(pending.seen[&device("1")].at, 2);
        let times: Vec<_> = pending.audit.iter().map(|entry| entry.at).collect();
        assert_eq!(times, (1..=MAX_AUDIT as u64).collect::<Vec<_>>());
    }
}
