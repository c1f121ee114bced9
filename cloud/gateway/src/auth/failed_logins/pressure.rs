//! How much an account is under attack, and the turns of the addresses that are new to it meanwhile.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use fedecks_edge::RateLimitKey;
use tokio::time::Instant;

use super::known::Account;

/// The failures at accounts, each of which counts for a day; of one address only the first few count, so
/// that a single one never puts an account under attack.
///
/// An account under attack is slowed and not shut. The addresses that have never logged in to it take
/// turns, each in one place of one queue: there is a queue for addresses without a failure, which moves
/// every [`NEW_INTERVAL`], and one for the others, which moves every [`REPEAT_INTERVAL`]. So attackers
/// that have used up their first guess are not in the way of an address that has not.
#[derive(Default)]
pub(super) struct Pressure {
    accounts: HashMap<Account, Record>,
    visitors: HashMap<Visitor, Visits>,
    /// What each failure counts for and until when, the oldest first.
    charges: VecDeque<(Instant, Visitor)>,
    /// When each turn lapses, the next first. Some were taken since.
    turns: BinaryHeap<Reverse<(Instant, Visitor)>>,
}

/// An address at an account that it has never logged in to; all logins without an address are one.
pub(super) type Visitor = (Account, Option<RateLimitKey>);

/// An account with failures.
struct Record {
    charged: u32,
    /// When the next turn is, for addresses without and with a failure.
    next: [Instant; 2],
}

#[derive(Default)]
struct Visits {
    charged: u32,
    turn: Option<Instant>,
}

/// How many failures of one address count.
const SHARE: u32 = 5;

/// How long a failure counts.
const CHARGED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How often an address without a failure has its turn.
const NEW_INTERVAL: Duration = Duration::from_millis(250);

/// How often an address with a failure has its turn.
const REPEAT_INTERVAL: Duration = Duration::from_secs(3);

/// How long a turn may be taken late: a device adds some randomness to the requested wait.
const TURN_LASTS: Duration = Duration::from_secs(600);

/// The largest number of failures that count, about 32 bytes each, and of turns, about as much. With the
/// visitors and accounts that they belong to they take less than 28 MiB.
const MAX: usize = 65_536;

impl Pressure {
    /// How long a login has to wait for its turn, if the account is under attack: if at least `free`
    /// failures count. `None` takes the turn.
    pub(super) fn wait(&mut self, visitor: Visitor, free: u32, now: Instant) -> Option<Duration> {
        self.expire(now);
        let record = self.accounts.get_mut(&visitor.0)?;
        if record.charged < free {
            return None;
        }
        let visits = self.visitors.get(&visitor);
        if let Some(turn) = visits.and_then(|visits| visits.turn) {
            if turn > now {
                return Some(turn - now);
            }
            self.take_turn(visitor);
            return None;
        }
        let repeats = visits.is_some_and(|visits| visits.charged > 0);
        let interval = if repeats { REPEAT_INTERVAL } else { NEW_INTERVAL };
        let next = &mut record.next[usize::from(repeats)];
        let turn = (*next).max(now);
        if turn > now && self.turns.len() >= MAX {
            return Some(turn - now);
        }
        *next = turn + interval;
        if turn == now {
            return None;
        }
        self.visitors.entry(visitor).or_default().turn = Some(turn);
        self.turns.push(Reverse((turn + TURN_LASTS, visitor)));
        Some(turn - now)
    }

    pub(super) fn failed(&mut self, visitor: Visitor, free: u32, now: Instant) {
        self.expire(now);
        // Without an address there is no one else to hold responsible.
        let share = if visitor.1.is_some() { SHARE } else { free };
        self.charge(visitor, share, now);
    }

    fn charge(&mut self, visitor: Visitor, share: u32, now: Instant) {
        let visits = self.visitors.entry(visitor).or_default();
        if visits.charged >= share {
            return;
        }
        visits.charged += 1;
        let record = Record { charged: 0, next: [now; 2] };
        self.accounts.entry(visitor.0).or_insert(record).charged += 1;
        self.charges.push_back((now + CHARGED_FOR, visitor));
        if self.charges.len() > MAX {
            self.forgive_oldest();
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.charges.front().is_some_and(|(until, _)| *until <= now) {
            self.forgive_oldest();
        }
        while let Some(Reverse((lapses, visitor))) = self.turns.peek().copied() {
            if lapses > now {
                break;
            }
            self.turns.pop();
            let turn = self.visitors.get(&visitor).and_then(|visits| visits.turn);
            if turn.is_some_and(|turn| turn + TURN_LASTS == lapses) {
                self.take_turn(visitor);
                // As a failure: otherwise an address could reserve turns, and make others wait, without ever
                // paying for them.
                if self.accounts.contains_key(&visitor.0) {
                    self.charge(visitor, SHARE, now);
                }
            }
        }
    }

    fn forgive_oldest(&mut self) {
        let Some((_, visitor)) = self.charges.pop_front() else { return };
        if let Some(visits) = self.visitors.get_mut(&visitor) {
            visits.charged = visits.charged.saturating_sub(1);
        }
        self.forget_idle(visitor);
        if let Some(record) = self.accounts.get_mut(&visitor.0) {
            record.charged = record.charged.saturating_sub(1);
            if record.charged == 0 {
                self.accounts.remove(&visitor.0);
            }
        }
    }

    fn take_turn(&mut self, visitor: Visitor) {
        if let Some(visits) = self.visitors.get_mut(&visitor) {
            visits.turn = None;
        }
        self.forget_idle(visitor);
    }

    fn forget_idle(&mut self, visitor: Visitor) {
        let idle = |visits: &Visits| visits.charged == 0 && visits.turn.is_none();
        if self.visitors.get(&visitor).is_some_and(idle) {
            self.visitors.remove(&visitor);
            super::table::shrink(&mut self.visitors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARVIN: Account = 7;

    fn visitor(account: Account, number: u32) -> Visitor {
        (account, Some(RateLimitKey::of(number.to_be_bytes().into())))
    }

    /// An account with 50 failures, five of each of ten addresses.
    fn under_attack(now: Instant) -> Pressure {
        let mut pressure = Pressure::default();
        for number in 0..50 {
            assert_eq!(pressure.wait(visitor(MARVIN, 1000), 50, now), None);
            pressure.failed(visitor(MARVIN, number / 5), 50, now);
        }
        pressure
    }

    #[test]
    fn one_address_counts_five_times_at_most() {
        let now = Instant::now();
        let mut pressure = Pressure::default();
        for _ in 0..1000 {
            pressure.failed(visitor(MARVIN, 1), 50, now);
        }
        assert_eq!(pressure.accounts[&MARVIN].charged, SHARE);
        for number in 2..11 {
            assert_eq!(pressure.wait(visitor(MARVIN, 1000 + number), 50, now), None);
            for _ in 0..5 {
                pressure.failed(visitor(MARVIN, number), 50, now);
            }
        }
        assert_eq!(pressure.wait(visitor(MARVIN, 1000), 50, now), None, "the first turn");
        assert_eq!(pressure.wait(visitor(MARVIN, 1001), 50, now), Some(NEW_INTERVAL));
        assert_eq!(pressure.wait(visitor(8, 1001), 50, now), None, "another account");
    }

    #[test]
    fn turns_that_lapse_do_not_keep_new_addresses_waiting() {
        let now = Instant::now();
        let mut pressure = under_attack(now);
        let reserve = |pressure: &mut Pressure, at| {
            for number in 2000..3000 {
                pressure.wait(visitor(MARVIN, number), 50, at);
            }
        };
        reserve(&mut pressure, now);
        let later = now + NEW_INTERVAL * 1001 + TURN_LASTS;
        reserve(&mut pressure, later);
        let waits = pressure.wait(visitor(MARVIN, 5000), 50, later).unwrap_or_default();
        assert!(waits <= NEW_INTERVAL, "{waits:?}");
    }

    #[test]
    fn without_an_address_each_failure_counts() {
        let now = Instant::now();
        let mut pressure = Pressure::default();
        for _ in 0..100 {
            pressure.failed((MARVIN, None), 50, now);
        }
        assert_eq!(pressure.accounts[&MARVIN].charged, 50);
    }

    #[test]
    fn an_address_has_one_place_in_the_queue() {
        let now = Instant::now();
        let mut pressure = under_attack(now);
        assert_eq!(pressure.wait(visitor(MARVIN, 100), 50, now), None, "the first turn");
        for number in 101..110 {
            let wait = Some(NEW_INTERVAL * (number - 100));
            for _ in 0..10 {
                assert_eq!(pressure.wait(visitor(MARVIN, number), 50, now), wait);
            }
        }
        // Addresses with a failure have another queue.
        assert_eq!(pressure.wait(visitor(MARVIN, 1), 50, now), None);
        assert_eq!(pressure.wait(visitor(MARVIN, 2), 50, now), Some(REPEAT_INTERVAL));
        let turn = now + NEW_INTERVAL * 5;
        assert_eq!(pressure.wait(visitor(MARVIN, 105), 50, turn), None);
        let again = pressure.wait(visitor(MARVIN, 105), 50, turn);
        assert_eq!(again, Some(NEW_INTERVAL * 5), "behind the others");
        assert_eq!(pressure.wait(visitor(MARVIN, 106), 50, now + TURN_LASTS), None, "a late one");
    }

    #[test]
    fn an_attack_is_forgotten_after_a_day() {
        let now = Instant::now();
        let mut pressure = under_attack(now);
        for number in 0..100 {
            pressure.wait(visitor(MARVIN, 100 + number), 50, now);
        }
        assert!(pressure.wait(visitor(MARVIN, 300), 50, now).is_some());
        let later = now + CHARGED_FOR;
        assert_eq!(pressure.wait(visitor(MARVIN, 301), 50, later), None);
        assert_eq!(pressure.wait(visitor(MARVIN, 302), 50, later), None);
        assert!(pressure.visitors.is_empty() && pressure.accounts.is_empty());
        assert!(pressure.charges.is_empty() && pressure.turns.is_empty());
    }

    #[test]
    fn a_flood_of_addresses_and_accounts_is_bounded() {
        let now = Instant::now();
        let mut pressure = under_attack(now);
        for number in 0..200_000_u32 {
            pressure.wait(visitor(MARVIN, number), 50, now);
            pressure.failed(visitor(number.into(), number), 50, now);
            assert!(pressure.turns.len() <= MAX && pressure.charges.len() <= MAX);
            assert!(pressure.visitors.len() <= 2 * MAX && pressure.accounts.len() <= MAX);
        }
    }
}
