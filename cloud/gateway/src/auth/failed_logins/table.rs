//! The failures of each address, in a bounded table.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The failures of addresses. Entries whose failures are all forgiven are removed.
pub(super) struct Table<K>(HashMap<K, Record>);

/// The failures of one address.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// When the last failure is forgiven; each failure adds [`FORGIVE_INTERVAL`].
    forgiven_at: Instant,
    blocked_until: Instant,
    /// Number of logins in progress.
    pending: u32,
}

/// How often one failure is forgiven.
const FORGIVE_INTERVAL: Duration = Duration::from_secs(180);

/// How many failures are counted at most.
const MAX_FAILURES: u32 = 500;

const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(900);

/// Maximum number of entries of a table, about 64 bytes each. A full table drops the quarter that would be
/// forgiven first: to make it forget an address, an attacker has to fail as often with more than 49,000
/// others.
const MAX_ENTRIES: usize = 65_536;

impl<K: Hash + Eq + Clone> Table<K> {
    /// How long a login has to wait.
    pub(super) fn wait(&self, key: &K, free: u32, now: Instant) -> Option<Duration> {
        let record = self.0.get(key)?;
        if record.blocked_until > now {
            return Some(record.blocked_until - now);
        }
        let failures = record.failures(now);
        let max_pending = free.saturating_sub(failures).max(1);
        (failures > 0 && record.pending >= max_pending).then_some(MIN_WAIT)
    }

    /// A login has started.
    pub(super) fn begin(&mut self, key: K, now: Instant) {
        let record = self.record(key, now);
        record.pending = record.pending.saturating_add(1);
    }

    /// A login has ended.
    pub(super) fn end(&mut self, key: &K, now: Instant) {
        if let Some(record) = self.0.get_mut(key) {
            record.pending = record.pending.saturating_sub(1);
            if record.is_forgiven(now) {
                self.0.remove(key);
                shrink(&mut self.0);
            }
        }
    }

    pub(super) fn failed(&mut self, key: K, free: u32, now: Instant) {
        let record = self.record(key, now);
        let latest = now + FORGIVE_INTERVAL * MAX_FAILURES;
        record.forgiven_at = (record.forgiven_at.max(now) + FORGIVE_INTERVAL).min(latest);
        let above = record.failures(now).saturating_sub(free.max(1));
        if record.failures(now) >= free.max(1) {
            let wait = MIN_WAIT.saturating_mul(1_u32.checked_shl(above).unwrap_or(u32::MAX));
            record.blocked_until = now + wait.min(MAX_WAIT);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn record(&mut self, key: K, now: Instant) -> &mut Record {
        if self.0.len() >= MAX_ENTRIES && !self.0.contains_key(&key) {
            self.0.retain(|_, record| !record.is_forgiven(now));
            drop_first_quarter(&mut self.0, |record| (record.pending > 0, record.forgiven_at));
        }
        self.0.entry(key).or_insert(Record { forgiven_at: now, blocked_until: now, pending: 0 })
    }
}

impl Record {
    /// The number of failures that are not yet forgiven.
    fn failures(&self, now: Instant) -> u32 {
        let left = self.forgiven_at.saturating_duration_since(now);
        u32::try_from(left.as_millis().div_ceil(FORGIVE_INTERVAL.as_millis())).unwrap_or(u32::MAX)
    }

    fn is_forgiven(&self, now: Instant) -> bool {
        self.pending == 0 && self.forgiven_at <= now && self.blocked_until <= now
    }
}

/// Drops the entries with the lowest `order` if the table is full.
fn drop_first_quarter<K, V, O>(table: &mut HashMap<K, V>, order: impl Fn(&V) -> O)
where
    K: Hash + Eq + Clone,
    O: Ord,
{
    if table.len() < MAX_ENTRIES {
        return;
    }
    let mut entries: Vec<(O, K)> =
        table.iter().map(|(key, value)| (order(value), key.clone())).collect();
    let quarter = entries.len() / 4;
    entries.select_nth_unstable_by(quarter, |(one, _), (other, _)| one.cmp(other));
    for (_, key) in &entries[..quarter] {
        table.remove(key);
    }
}

/// Releases memory after a rush.
pub(super) fn shrink<K: Hash + Eq, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 1024 && table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2);
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_drops_entries_with_the_fewest_failures() {
        let now = Instant::now();
        let mut table = Table::default();
        for _ in 0..50 {
            table.failed(u32::MAX, 3, now);
        }
        for key in 0..200_000 {
            table.failed(key, 3, now);
            assert!(table.len() <= MAX_ENTRIES);
        }
        assert!(table.wait(&u32::MAX, 3, now).is_some(), "it is still blocked");
        // Forgiven entries are dropped first.
        let later = now + FORGIVE_INTERVAL * 60;
        for key in 0..70_000 {
            table.failed(key, 3, later);
        }
        assert!(table.len() <= MAX_ENTRIES);
    }

    #[test]
    fn a_flood_does_not_drop_a_login_in_progress() {
        let now = Instant::now();
        let mut table = Table::default();
        table.begin(u32::MAX, now);
        for key in 0..200_000 {
            table.failed(key, 3, now);
        }
        assert_eq!(table.0.get(&u32::MAX).map(|record| record.pending), Some(1));
    }

    #[test]
    fn endless_failures_do_not_overflow() {
        let now = Instant::now();
        let mut table = Table::default();
        for _ in 0..10_000 {
            table.failed((), 0, now);
        }
        assert_eq!(table.wait(&(), 0, now), Some(MAX_WAIT));
        assert_eq!(table.wait(&(), 0, now + MAX_WAIT), None);
    }
}
