//! What is written later, many notes at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::audit_log::Log;
use super::columns::stored;
use crate::api_tokens::ApiToken;
use crate::audit::AuditEntry;

/// What nobody waits for, until it is written.
#[derive(Default)]
pub(super) struct Notes {
    waiting: Mutex<Waiting>,
    dropped: AtomicU64,
    audit_dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
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

/// Of how many devices notes are kept between two writes.
const SEEN_KEPT: usize = 100_000;

/// Of how many API tokens.
const USED_KEPT: usize = ApiToken::MOST as usize;

/// How many lines of the audit log.
const AUDIT_KEPT: usize = 10_000;

impl Notes {
    pub(super) fn seen(&self, device: &DeviceId, generation: u64, at: u64) {
        if !self.lock().add_seen(device, Seen { generation, at }) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn used(&self, name: &str, at: u64) {
        if !self.lock().add_used(name, at) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn audit(&self, entry: AuditEntry) {
        let mut waiting = self.lock();
        if waiting.audit.len() < AUDIT_KEPT {
            waiting.audit.push(entry);
        } else {
            drop(waiting);
            self.audit_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many notes and how many lines of the audit log were dropped.
    pub(super) fn dropped(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.audit_dropped.load(Ordering::Relaxed))
    }

    /// How many wait to be written.
    pub(super) fn waiting(&self) -> u64 {
        let waiting = self.lock();
        (waiting.seen.len() + waiting.used.len() + waiting.audit.len()) as u64
    }

    /// Writes all that is waiting as one transaction. Where that fails, it goes on waiting.
    pub(super) fn write(&self, database: &mut Connection, log: Log) -> rusqlite::Result<()> {
        let waiting = std::mem::take(&mut *self.lock());
        if waiting.is_empty() {
            return Ok(());
        }
        let written = waiting.write(database, log);
        if written.is_err() {
            self.put_back(waiting);
        }
        written
    }

    /// Puts back what could not be written, before what came meanwhile.
    fn put_back(&self, older: Waiting) {
        let (mut dropped, mut audit_dropped) = (0, 0);
        {
            let mut waiting = self.lock();
            let newer = std::mem::replace(&mut *waiting, older);
            for (device, seen) in newer.seen {
                dropped += u64::from(!waiting.add_seen(&device, seen));
            }
            for (name, at) in newer.used {
                dropped += u64::from(!waiting.add_used(&name, at));
            }
            waiting.audit.extend(newer.audit);
            audit_dropped += waiting.audit.len().saturating_sub(AUDIT_KEPT) as u64;
            waiting.audit.truncate(AUDIT_KEPT);
        }
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.audit_dropped.fetch_add(audit_dropped, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.used.is_empty() && self.audit.is_empty()
    }

    /// Whether there was room for it.
    fn add_seen(&mut self, device: &DeviceId, seen: Seen) -> bool {
        if let Some(known) = self.seen.get_mut(device) {
            known.at = known.at.max(seen.at);
            known.generation = known.generation.max(seen.generation);
            return true;
        }
        let room = self.seen.len() < SEEN_KEPT;
        if room {
            self.seen.insert(device.clone(), seen);
        }
        room
    }

    /// Whether there was room for it.
    fn add_used(&mut self, name: &str, at: u64) -> bool {
        let full = self.used.len() >= USED_KEPT;
        match self.used.entry(name.to_owned()) {
            Entry::Occupied(mut known) => {
                let latest = at.max(*known.get());
                known.insert(latest);
            }
            Entry::Vacant(_) if full => return false,
            Entry::Vacant(place) => {
                place.insert(at);
            }
        }
        true
    }

    fn write(&self, database: &mut Connection, log: Log) -> rusqlite::Result<()> {
        let writing = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (device, Seen { generation, at }) in &self.seen {
            write_seen(&writing, device, *generation, *at)?;
        }
        for (name, at) in &self.used {
            write_used(&writing, name, *at)?;
        }
        for entry in &self.audit {
            log.add_noted(&writing, entry)?;
        }
        writing.commit()
    }
}

/// Notes when a device was connected. One that was forgotten since then stays forgotten.
fn write_seen(
    writing: &Transaction<'_>,
    device: &DeviceId,
    generation: u64,
    at: u64,
) -> rusqlite::Result<()> {
    writing
        .prepare_cached(
            "INSERT INTO devices (id, first_seen, last_seen) VALUES (?1, ?2, ?2)
             ON CONFLICT (id) DO UPDATE
             SET first_seen = min(ifnull(first_seen, excluded.first_seen), excluded.first_seen),
                 last_seen = max(ifnull(last_seen, 0), excluded.last_seen),
                 forgotten = 0
             WHERE forgotten = 0 OR generation <= ?3",
        )?
        .execute(params![device.as_str(), stored(at), stored(generation)])?;
    Ok(())
}

/// Notes when a token was used last; not if it is gone.
fn write_used(writing: &Transaction<'_>, name: &str, at: u64) -> rusqlite::Result<()> {
    writing
        .prepare_cached(
            "UPDATE api_tokens SET last_used = max(ifnull(last_used, 0), ?2) WHERE name = ?1",
        )?
        .execute(params![name, stored(at)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, AuditAction};

    fn device(number: usize) -> DeviceId {
        DeviceId::new(format!("device-{number}")).unwrap()
    }

    fn entry(at: u64) -> AuditEntry {
        let (by, action) = (Actor::token("ci"), AuditAction::MessageSent);
        AuditEntry { at, by, action, device: None, detail: None }
    }

    #[test]
    fn notes_beyond_their_bounds_are_dropped_and_counted() {
        let notes = Notes::default();
        for number in 0..SEEN_KEPT + 3 {
            notes.seen(&device(number), 0, 1);
        }
        notes.seen(&device(0), 5, 2);
        for number in 0..USED_KEPT + 2 {
            notes.used(&number.to_string(), 1);
        }
        notes.used("0", 7);
        for at in 0..AUDIT_KEPT as u64 + 4 {
            notes.audit(entry(at));
        }
        assert_eq!(notes.dropped(), (5, 4));
        assert_eq!(notes.waiting(), (SEEN_KEPT + USED_KEPT + AUDIT_KEPT) as u64);
        let waiting = notes.lock();
        assert_eq!(waiting.seen[&device(0)], Seen { generation: 5, at: 2 });
        assert_eq!(waiting.used["0"], 7);
    }

    #[test]
    fn what_cannot_be_written_waits_in_its_order_and_within_its_bounds() {
        let notes = Notes::default();
        notes.seen(&device(1), 0, 1);
        notes.audit(entry(1));
        let mut without_tables = Connection::open_in_memory().unwrap();
        assert!(notes.write(&mut without_tables, Log { kept: 10 }).is_err());
        notes.seen(&device(1), 0, 2);
        notes.audit(entry(2));
        assert!(notes.write(&mut without_tables, Log { kept: 10 }).is_err());
        assert_eq!(notes.dropped(), (0, 0));

        let older = std::mem::take(&mut *notes.lock());
        for at in 3..AUDIT_KEPT as u64 + 3 {
            notes.audit(entry(at));
        }
        notes.put_back(older);
        assert_eq!(notes.dropped(), (0, 2));
        let waiting = notes.lock();
        assert_eq!(waiting.seen[&device(1)].at, 2);
        let times: Vec<_> = waiting.audit.iter().map(|entry| entry.at).collect();
        assert_eq!(times, (1..=AUDIT_KEPT as u64).collect::<Vec<_>>());
    }
}
