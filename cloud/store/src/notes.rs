//! The write-behind buffer of a store: notes and audit lines that no caller waits for, written many at a time. It
//! knows neither when nor how.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fedecks_protocol::DeviceId;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::api_tokens::ApiToken;
use crate::audit::{AuditClass, AuditEntry};
use crate::known_logins::KnownLogin;

#[derive(Default)]
pub(crate) struct WriteBehind {
    pending: Mutex<Pending>,
    /// What is being written. Locked after `pending`.
    taken: Mutex<Option<Arc<Pending>>>,
    dropped: AtomicU64,
    audit_dropped: AtomicU64,
}

/// A device's latest note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Of the device's tokens.
    pub(crate) generation: u64,
    pub(crate) at: u64,
    /// The latest generation of the tokens that it came by.
    pub(crate) by_token: Option<u64>,
}

impl Seen {
    /// Both notes in one.
    fn and(self, newer: Self) -> Self {
        Self {
            generation: self.generation.max(newer.generation),
            at: self.at.max(newer.at),
            by_token: self.by_token.max(newer.by_token),
        }
    }
}

/// What is to be written.
#[derive(Clone, Default)]
pub(crate) struct Pending {
    pub(crate) seen: HashMap<DeviceId, Seen, RandomState>,
    /// When API tokens were used last, by their names.
    pub(crate) used: HashMap<String, u64>,
    pub(crate) logins: HashMap<(String, IpAddr), u64>,
    pub(crate) audit: Vec<AuditEntry>,
    /// What the lines of each class take, in bytes, in the order of [`AuditClass::ALL`].
    audit_bytes: [usize; AuditClass::ALL.len()],
}

/// The number of devices that notes are kept of.
const MAX_SEEN: usize = 100_000;

/// The number of API tokens.
const MAX_USED: usize = ApiToken::MAX as usize;

/// The number of accounts and networks that notes are kept of, each of at most 200 bytes.
const MAX_LOGINS: usize = 10_000;

/// How much the lines of the audit log may take, in bytes, separately for each class: what is frequent
/// leaves room for what is rare. With the 100 bytes or so of a line, 10,000 fit.
const MAX_AUDIT_BYTES: usize = 2 * 1024 * 1024;

/// How many notes, and how many lines, a flush writes. Calls wait for it.
const FLUSHED: usize = 2000;

impl WriteBehind {
    pub(crate) fn seen(&self, device: &DeviceId, generation: u64, at: u64, by_token: bool) {
        let by_token = by_token.then_some(generation);
        if !self.pending.lock().add_seen(device, Seen { generation, at, by_token }) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The note of a device that is not written yet. It stays so.
    pub(crate) fn note_of(&self, device: &DeviceId) -> Option<Seen> {
        let pending = self.pending.lock();
        let taken = self.taken.lock();
        let older = taken.as_ref().and_then(|taken| taken.seen.get(device)).copied();
        let newer = pending.seen.get(device).copied();
        older.map_or(newer, |older| Some(newer.map_or(older, |newer| older.and(newer))))
    }

    pub(crate) fn used(&self, name: &str, at: u64) {
        if !self.pending.lock().add_used(name, at) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn login_succeeded(&self, login: KnownLogin) {
        let KnownLogin { address, account, at } = login;
        if !self.pending.lock().add_login((account, address), at) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn audit(&self, mut entry: AuditEntry) {
        // A copy, so that it holds no more memory than it needs.
        entry.detail = entry.kept_detail().map(str::to_owned);
        if !self.pending.lock().add_audit(entry) {
            self.audit_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The numbers of notes and of lines of the audit log that were dropped.
    pub(crate) fn dropped(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.audit_dropped.load(Ordering::Relaxed))
    }

    /// The number of notes and lines that are not written yet.
    pub(crate) fn len(&self) -> u64 {
        let pending = self.pending.lock();
        let taken = self.taken.lock().as_ref().map_or(0, |taken| taken.len());
        (pending.len() + taken) as u64
    }

    /// Takes what one flush writes; `None` if nothing is pending. It counts as not written until
    /// [`WriteBehind::written`].
    pub(crate) fn take(&self) -> Option<Arc<Pending>> {
        let mut pending = self.pending.lock();
        if pending.len() == 0 {
            return None;
        }
        let taken = Arc::new(pending.take());
        *self.taken.lock() = Some(taken.clone());
        Some(taken)
    }

    /// What was taken is written.
    pub(crate) fn written(&self) {
        *self.taken.lock() = None;
    }

    /// Whether what is pending takes more than one flush.
    pub(crate) fn is_much(&self) -> bool {
        self.pending.lock().is_much()
    }

    /// Puts back what could not be written, before what arrived since.
    #[cfg(any(feature = "sqlite", test))]
    pub(crate) fn put_back(&self, older: Arc<Pending>) {
        let mut pending = self.pending.lock();
        *self.taken.lock() = None;
        let older = Arc::unwrap_or_clone(older);
        let newer = std::mem::replace(&mut *pending, older);
        let mut dropped = 0;
        for (device, seen) in newer.seen {
            dropped += u64::from(!pending.add_seen(&device, seen));
        }
        for (name, at) in newer.used {
            dropped += u64::from(!pending.add_used(&name, at));
        }
        for (login, at) in newer.logins {
            dropped += u64::from(!pending.add_login(login, at));
        }
        let mut audit_dropped = 0;
        for entry in newer.audit {
            audit_dropped += u64::from(!pending.add_audit(entry));
        }
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.audit_dropped.fetch_add(audit_dropped, Ordering::Relaxed);
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.seen.len() + self.used.len() + self.logins.len() + self.audit.len()
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
        let lines: Vec<_> = self.audit.drain(..lines).collect();
        let (used, logins) = (std::mem::take(&mut self.used), std::mem::take(&mut self.logins));
        let mut taken = Self { seen, used, logins, ..Self::default() };
        for line in lines {
            self.audit_bytes[class_of(&line)] -= size_of_entry(&line);
            taken.add_audit(line);
        }
        taken
    }

    /// Returns false if it is full.
    fn add_seen(&mut self, device: &DeviceId, seen: Seen) -> bool {
        if let Some(known) = self.seen.get_mut(device) {
            *known = known.and(seen);
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

    /// Returns false if it is full.
    fn add_login(&mut self, login: (String, IpAddr), at: u64) -> bool {
        let full = self.logins.len() >= MAX_LOGINS;
        match self.logins.entry(login) {
            Entry::Vacant(_) if full => return false,
            entry => {
                let latest = entry.or_default();
                *latest = at.max(*latest);
            }
        }
        true
    }

    /// Returns false if its class is full.
    fn add_audit(&mut self, entry: AuditEntry) -> bool {
        let class = class_of(&entry);
        let bytes = self.audit_bytes[class] + size_of_entry(&entry);
        let has_room = bytes <= MAX_AUDIT_BYTES;
        if has_room {
            self.audit_bytes[class] = bytes;
            self.audit.push(entry);
        }
        has_room
    }
}

/// The place of its class in [`AuditClass::ALL`].
fn class_of(entry: &AuditEntry) -> usize {
    usize::from(entry.action.class().number()) - 1
}

fn size_of_entry(entry: &AuditEntry) -> usize {
    let device = entry.device.as_ref().map_or(0, |device| device.as_str().len());
    let detail = entry.detail.as_ref().map_or(0, String::len);
    size_of::<AuditEntry>() + entry.by.as_str().len() + device + detail
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

    /// How many of these entries fit.
    fn max_entries() -> u64 {
        (MAX_AUDIT_BYTES / size_of_entry(&entry(1))) as u64
    }

    #[test]
    fn notes_beyond_the_limits_are_dropped_and_counted() {
        let buffer = WriteBehind::default();
        for number in 0..MAX_SEEN + 3 {
            buffer.seen(&device(&number.to_string()), 0, 1, false);
        }
        buffer.seen(&device("0"), 5, 2, false);
        for number in 0..MAX_USED + 2 {
            buffer.used(&number.to_string(), 1);
        }
        buffer.used("0", 7);
        for number in 0..MAX_LOGINS + 1 {
            let address = [192, 0, 2, 1].into();
            buffer.login_succeeded(KnownLogin { address, account: number.to_string(), at: 1 });
        }
        for at in 0..max_entries() + 4 {
            buffer.audit(entry(at));
        }
        assert_eq!(buffer.dropped(), (6, 4));
        let all = (MAX_SEEN + MAX_USED + MAX_LOGINS) as u64 + max_entries();
        assert_eq!(buffer.len(), all);
        let pending = buffer.pending.lock();
        assert_eq!(pending.seen[&device("0")], Seen { generation: 5, at: 2, by_token: None });
        assert_eq!(pending.used["0"], 7);
    }

    #[test]
    fn a_flood_of_messages_leaves_room_for_other_lines() {
        let buffer = WriteBehind::default();
        for at in 0..100_000 {
            buffer.audit(AuditEntry { detail: Some("x".repeat(1000)), ..entry(at) });
        }
        let (_, dropped) = buffer.dropped();
        for action in [AuditAction::SignedIn, AuditAction::DeviceDisconnected] {
            buffer.audit(AuditEntry { action, ..entry(1) });
        }
        assert_eq!(buffer.dropped(), (0, dropped));
        let pending = buffer.pending.lock();
        let bytes: usize = pending.audit.iter().map(size_of_entry).sum();
        assert!(bytes <= MAX_AUDIT_BYTES + 2 * AuditEntry::MAX_BYTES, "{bytes}");
        assert!(pending.audit.iter().all(|entry| size_of_entry(entry) <= AuditEntry::MAX_BYTES));
    }

    #[test]
    fn what_is_put_back_keeps_order_and_limits() {
        let buffer = WriteBehind::default();
        for at in [1, 2] {
            buffer.seen(&device("1"), 0, at, false);
            buffer.audit(entry(at));
            let pending = buffer.take().unwrap();
            assert_eq!(buffer.note_of(&device("1")).unwrap().at, at);
            assert!(buffer.len() > 0, "it is not written yet");
            buffer.put_back(pending);
        }
        assert_eq!(buffer.dropped(), (0, 0));

        let older = std::mem::take(&mut *buffer.pending.lock());
        for at in 3..max_entries() + 3 {
            buffer.audit(entry(at));
        }
        buffer.put_back(Arc::new(older));
        assert_eq!(buffer.dropped(), (0, 2));
        let pending = buffer.pending.lock();
        assert_eq!(pending.seen[&device("1")].at, 2);
        let times: Vec<_> = pending.audit.iter().map(|entry| entry.at).collect();
        assert_eq!(times, (1..=max_entries()).collect::<Vec<_>>());
    }
}
