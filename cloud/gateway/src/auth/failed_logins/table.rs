//! The bounded tables of failures that `failed_logins` keeps.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The failures of addresses or of accounts. What is forgiven takes no place.
pub(super) struct Table<K>(HashMap<K, Record>);

/// Pairs that are known to belong together, the latest ones.
pub(super) struct Known<K>(HashMap<K, Instant>);

/// What is remembered of one address or account.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// When the last of the failures is forgiven; each moves it by [`FORGIVING`].
    forgiven_at: Instant,
    barred_until: Instant,
    /// How many logins are under way.
    pending: u32,
}

/// After how long one failure is forgiven.
const FORGIVING: Duration = Duration::from_secs(180);

/// How many failures are remembered at most.
const MOST_FAILURES: u32 = 500;

const SHORTEST_BAR: Duration = Duration::from_secs(1);
const LONGEST_BAR: Duration = Duration::from_secs(900);

/// How many entries a table has at most, some 64 bytes each. In a full one, the quarter that would be
/// forgiven first makes room: to have a guarded account forgotten, an attacker has to fail as often
/// with more than 12,000 others.
const MOST_ENTRIES: usize = 16_384;

impl<K: Hash + Eq + Clone> Table<K> {
    /// How long a login has to wait, if it has to.
    pub(super) fn wait(&self, key: &K, free: u32, now: Instant) -> Option<Duration> {
        let record = self.0.get(key)?;
        if record.barred_until > now {
            return Some(record.barred_until - now);
        }
        let failures = record.failures(now);
        let at_once = free.saturating_sub(failures).max(1);
        (failures > 0 && record.pending >= at_once).then_some(SHORTEST_BAR)
    }

    /// A login is under way.
    pub(super) fn begin(&mut self, key: K, now: Instant) {
        let record = self.record(key, now);
        record.pending = record.pending.saturating_add(1);
    }

    /// A login is under way no longer.
    pub(super) fn end(&mut self, key: &K, now: Instant) {
        if let Some(record) = self.0.get_mut(key) {
            record.pending = record.pending.saturating_sub(1);
            if record.is_clean(now) {
                self.0.remove(key);
                shrink(&mut self.0);
            }
        }
    }

    pub(super) fn failed(&mut self, key: K, free: u32, now: Instant) {
        let record = self.record(key, now);
        let latest = now + FORGIVING * MOST_FAILURES;
        record.forgiven_at = (record.forgiven_at.max(now) + FORGIVING).min(latest);
        let above = record.failures(now).saturating_sub(free.max(1));
        if record.failures(now) >= free.max(1) {
            let bar = SHORTEST_BAR.saturating_mul(1_u32.checked_shl(above).unwrap_or(u32::MAX));
            record.barred_until = now + bar.min(LONGEST_BAR);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn record(&mut self, key: K, now: Instant) -> &mut Record {
        if self.0.len() >= MOST_ENTRIES && !self.0.contains_key(&key) {
            self.0.retain(|_, record| !record.is_clean(now));
            drop_first_quarter(&mut self.0, |record| (record.pending > 0, record.forgiven_at));
        }
        self.0.entry(key).or_insert(Record { forgiven_at: now, barred_until: now, pending: 0 })
    }
}

impl Record {
    /// How many failures are not forgiven yet.
    fn failures(&self, now: Instant) -> u32 {
        let left = self.forgiven_at.saturating_duration_since(now);
        u32::try_from(left.as_millis().div_ceil(FORGIVING.as_millis())).unwrap_or(u32::MAX)
    }

    fn is_clean(&self, now: Instant) -> bool {
        self.pending == 0 && self.forgiven_at <= now && self.barred_until <= now
    }
}

impl<K: Hash + Eq + Clone> Known<K> {
    pub(super) fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn put(&mut self, key: K, now: Instant) {
        if self.0.len() >= MOST_ENTRIES && !self.0.contains_key(&key) {
            drop_first_quarter(&mut self.0, |at| *at);
        }
        self.0.insert(key, now);
    }
}

/// If the table is full still, drops those whose `order` comes first.
fn drop_first_quarter<K, V, O>(table: &mut HashMap<K, V>, order: impl Fn(&V) -> O)
where
    K: Hash + Eq + Clone,
    O: Ord,
{
    if table.len() < MOST_ENTRIES {
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

/// Gives memory back that a rush has taken.
fn shrink<K: Hash + Eq, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 1024 && table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2);
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_forgets_the_lightest_and_keeps_the_heaviest() {
        let now = Instant::now();
        let mut table = Table::default();
        for _ in 0..50 {
            table.failed(u32::MAX, 3, now);
        }
        for key in 0..100_000 {
            table.failed(key, 3, now);
            assert!(table.len() <= MOST_ENTRIES);
        }
        assert!(table.wait(&u32::MAX, 3, now).is_some(), "it is still barred");
        // What is forgiven goes first.
        let later = now + FORGIVING * 60;
        for key in 0..20_000 {
            table.failed(key, 3, later);
        }
        assert!(table.len() <= MOST_ENTRIES);
    }

    #[test]
    fn a_login_under_way_is_not_forgotten_by_a_flood() {
        let now = Instant::now();
        let mut table = Table::default();
        table.begin(u32::MAX, now);
        for key in 0..100_000 {
            table.failed(key, 3, now);
        }
        assert_eq!(table.0.get(&u32::MAX).map(|record| record.pending), Some(1));
    }

    #[test]
    fn the_latest_pairs_are_known() {
        let start = Instant::now();
        let mut known = Known::default();
        for key in 0..50_000_u32 {
            known.put(key, start + Duration::from_secs(key.into()));
            assert!(known.0.len() <= MOST_ENTRIES);
        }
        assert!(known.contains(&49_999) && known.contains(&40_000) && !known.contains(&0));
    }

    #[test]
    fn failures_without_end_are_counted_without_overflow() {
        let now = Instant::now();
        let mut table = Table::default();
        for _ in 0..10_000 {
            table.failed((), 0, now);
        }
        assert_eq!(table.wait(&(), 0, now), Some(LONGEST_BAR));
        assert_eq!(table.wait(&(), 0, now + LONGEST_BAR), None);
    }
}
