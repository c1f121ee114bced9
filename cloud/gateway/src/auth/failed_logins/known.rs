//! The addresses that have logged in to an account before, most recent first to stay.

use std::collections::HashMap;

use fedecks_edge::RateLimitKey;
use tokio::time::Instant;

/// A keyed hash of an account's name.
pub(super) type Account = u64;

/// Pairs of an address and an account that belong together, at most [`MAX`] of them, about 64 bytes each.
///
/// Above that, the account with the most pairs loses the half of them that was used least recently, so
/// that anyone who has one account and many addresses makes the server forget that account's pairs only.
#[derive(Default)]
pub(super) struct KnownPairs {
    pairs: HashMap<(RateLimitKey, Account), Use>,
    /// How many pairs each account has.
    counts: HashMap<Account, usize>,
    uses: u64,
}

#[derive(Clone, Copy)]
struct Use {
    /// The number of this use among all.
    number: u64,
    noted: Option<Instant>,
}

/// The largest number of pairs.
pub(super) const MAX: usize = 16_384;

/// How often it is noted that a pair is still in use.
const NOTE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

impl KnownPairs {
    pub(super) fn contains(&self, address: RateLimitKey, account: Account) -> bool {
        self.pairs.contains_key(&(address, account))
    }

    /// Adds a pair that was noted in an earlier run. The most recent one has to be added last.
    pub(super) fn restore(&mut self, address: RateLimitKey, account: Account) {
        self.insert(address, account, None);
    }

    /// A pair has logged in. Returns whether that should be noted: if it is new, and once a day.
    pub(super) fn used(&mut self, address: RateLimitKey, account: Account, now: Instant) -> bool {
        let noted = self.pairs.get(&(address, account)).and_then(|known| known.noted);
        let fresh = noted.is_some_and(|at| now.saturating_duration_since(at) < NOTE_INTERVAL);
        self.insert(address, account, if fresh { noted } else { Some(now) });
        !fresh
    }

    fn insert(&mut self, address: RateLimitKey, account: Account, noted: Option<Instant>) {
        let pair = (address, account);
        if self.pairs.len() >= MAX && !self.pairs.contains_key(&pair) {
            self.halve_the_largest();
        }
        self.uses += 1;
        let latest = Use { number: self.uses, noted };
        if self.pairs.insert(pair, latest).is_none() {
            *self.counts.entry(account).or_default() += 1;
        }
    }

    fn halve_the_largest(&mut self) {
        let largest = self.counts.iter().max_by_key(|(_, count)| **count);
        let Some((&account, &count)) = largest else { return };
        let pairs = self.pairs.iter().filter(|((_, of), _)| *of == account);
        let mut pairs: Vec<_> = pairs.map(|(pair, used)| (used.number, *pair)).collect();
        let half = count.div_ceil(2);
        pairs.sort_unstable_by_key(|(number, _)| *number);
        for (_, pair) in &pairs[..half.min(pairs.len())] {
            self.pairs.remove(pair);
        }
        self.counts.insert(account, count - half);
        self.counts.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> RateLimitKey {
        RateLimitKey::of(number.to_be_bytes().into())
    }

    #[test]
    fn the_pairs_of_the_largest_account_are_forgotten_first() {
        let now = Instant::now();
        let mut known = KnownPairs::default();
        for number in 0..100 {
            assert!(known.used(key(number), 1, now));
        }
        for number in 0..100_000 {
            known.used(key(number), 2, now);
            assert!(known.pairs.len() <= MAX);
        }
        assert!((0..100).all(|number| known.contains(key(number), 1)), "another account's");
        assert!(known.contains(key(99_999), 2) && !known.contains(key(0), 2));
        assert_eq!(known.counts.values().sum::<usize>(), known.pairs.len());
    }

    #[test]
    fn a_use_is_noted_once_a_day() {
        let now = Instant::now();
        let mut known = KnownPairs::default();
        known.restore(key(1), 1);
        assert!(known.contains(key(1), 1));
        assert!(known.used(key(1), 1, now), "the first in this run");
        assert!(!known.used(key(1), 1, now + NOTE_INTERVAL / 2));
        assert!(known.used(key(1), 1, now + NOTE_INTERVAL));
        assert!(!known.used(key(1), 1, now + NOTE_INTERVAL));
    }
}
