//! Slows down whoever guesses passwords or API tokens.

mod table;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedecks_edge::RateLimitKey;
use tokio::time::Instant;

use table::{Known, Table};

/// Slows down whoever guesses passwords, before any work is spent on the guess. Clones are the same
/// one: share it between everything that checks what people know or have.
///
/// Failures are counted for the address that they come from (the network of 64 bits with IPv6) and
/// for the account that was tried. The first few cost nothing; then each of them bars the way for a
/// while, 1 s at first and twice as long each time, up to 15 minutes. One failure is forgiven every 3
/// minutes, so in the long run 20 guesses an hour are to be had, however they are timed. Nothing else
/// makes them forgotten: a success does not, since an attacker may well have an account of his own.
///
/// An account that is guessed at from everywhere is not barred for an address that logged in to it
/// before: only that address's own failures count there. This and everything else is in memory of a
/// bounded size, and gone when the process ends.
///
/// Tokens of devices are no part of this: a device that comes by its token is never held up, whatever
/// others behind the same address do.
#[derive(Clone)]
pub struct FailedLogins(Arc<Inner>);

/// How many failures cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedLoginLimits {
    /// Of one address.
    pub per_address: u32,
    /// Of one account, from all addresses that never logged in to it.
    pub per_account: u32,
}

/// There were too many failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins, try again in {} s", retry_after.as_secs())]
pub struct TooManyFailures {
    /// After how long it can be tried again, in whole seconds, at least one.
    pub retry_after: Duration,
}

/// A login that is under way. Dropped without a word about how it went, it counts for nothing.
#[must_use]
#[derive(Debug)]
pub struct Attempt {
    logins: FailedLogins,
    address: Option<RateLimitKey>,
    account: Option<Account>,
    /// Whether the address logged in to the account before: only the address counts.
    known: bool,
}

struct Inner {
    limits: FailedLoginLimits,
    /// Accounts are numbered by a secret hash: no name is kept, and nobody can make two meet.
    hasher: RandomState,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    addresses: Table<RateLimitKey>,
    accounts: Table<Account>,
    known: Known<(RateLimitKey, Account)>,
}

type Account = u64;

impl Default for FailedLoginLimits {
    /// 10 of an address, 50 of an account.
    fn default() -> Self {
        Self { per_address: 10, per_account: 50 }
    }
}

impl FailedLogins {
    /// With nobody barred yet.
    pub fn new(limits: FailedLoginLimits) -> Self {
        Self(Arc::new(Inner { limits, hasher: RandomState::new(), tables: Mutex::default() }))
    }

    /// Asks before a login is looked at. `account` is the name that was given, whether there is such
    /// an account or not; `None` where there is no such thing as a name, as with an API token.
    ///
    /// While there are failures that are not forgiven yet, only as many logins may be under way at
    /// once as there are failures left, so that nobody gets more guesses by making them all at once.
    pub fn attempt(
        &self,
        address: Option<IpAddr>,
        account: Option<&str>,
    ) -> Result<Attempt, TooManyFailures> {
        let now = Instant::now();
        let address = address.map(RateLimitKey::of);
        let account = account.map(|name| self.0.hasher.hash_one(name));
        let mut tables = self.tables();
        let known = address.zip(account).is_some_and(|pair| tables.known.contains(&pair));
        let counted = account.filter(|_| !known);
        let limits = &self.0.limits;
        let of_address =
            address.and_then(|key| tables.addresses.wait(&key, limits.per_address, now));
        let of_account =
            counted.and_then(|key| tables.accounts.wait(&key, limits.per_account, now));
        if let Some(wait) = of_address.max(of_account) {
            drop(tables);
            let address = address.map(RateLimitKey::address);
            tracing::debug!(?address, "held up a login after too many failed ones");
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(TooManyFailures { retry_after: Duration::from_secs(seconds.max(1)) });
        }
        if let Some(address) = address {
            tables.addresses.begin(address, now);
        }
        if let Some(account) = counted {
            tables.accounts.begin(account, now);
        }
        drop(tables);
        Ok(Attempt { logins: self.clone(), address, account, known })
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FailedLogins {
    fn default() -> Self {
        Self::new(FailedLoginLimits::default())
    }
}

impl Attempt {
    /// The password or the token was wrong, or there is no such account.
    pub fn failed(self) {
        let now = Instant::now();
        let limits = self.logins.0.limits;
        let mut tables = self.logins.tables();
        if let Some(address) = self.address {
            tables.addresses.failed(address, limits.per_address, now);
        }
        if let Some(account) = self.counted() {
            tables.accounts.failed(account, limits.per_account, now);
        }
    }

    /// It was right. From now on the address is known to belong to the account.
    pub fn succeeded(self) {
        if let Some(pair) = self.address.zip(self.account) {
            self.logins.tables().known.put(pair, Instant::now());
        }
    }

    fn counted(&self) -> Option<Account> {
        self.account.filter(|_| !self.known)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut tables = self.logins.tables();
        if let Some(address) = &self.address {
            tables.addresses.end(address, now);
        }
        if let Some(account) = &self.counted() {
            tables.accounts.end(account, now);
        }
    }
}

impl std::fmt::Debug for FailedLogins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FailedLogins").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FailedLoginLimits = FailedLoginLimits { per_address: 3, per_account: 5 };

    fn ip(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    /// A wrong guess, or for how many seconds it has to wait.
    fn guess(logins: &FailedLogins, address: Option<IpAddr>, account: &str) -> Result<(), u64> {
        match logins.attempt(address, Some(account)) {
            Ok(attempt) => {
                attempt.failed();
                Ok(())
            }
            Err(error) => Err(error.retry_after.as_secs()),
        }
    }

    fn may(logins: &FailedLogins, address: Option<IpAddr>, account: &str) -> bool {
        logins.attempt(address, Some(account)).is_ok()
    }

    async fn seconds(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_with_every_failure_of_an_address_up_to_a_quarter_of_an_hour() {
        let logins = FailedLogins::new(FailedLoginLimits { per_account: 1000, ..LIMITS });
        for _ in 0..3 {
            assert_eq!(guess(&logins, ip(1), "marvin"), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Err(wait) = guess(&logins, ip(1), "marvin") {
                waits.push(wait);
                seconds(wait).await;
                assert_eq!(guess(&logins, ip(1), "marvin"), Ok(()));
            }
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 64, 128]);
        assert!(waits.iter().all(|wait| *wait <= 900), "{waits:?}");
        assert_eq!(guess(&logins, ip(2), "marvin"), Ok(()), "another address is not held up");
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_long_run_an_address_has_20_guesses_an_hour() {
        let logins = FailedLogins::new(FailedLoginLimits { per_account: 1000, ..LIMITS });
        let start = Instant::now();
        let mut guesses = 0;
        while start.elapsed() < Duration::from_secs(24 * 3600) {
            match guess(&logins, ip(1), "marvin") {
                Ok(()) => guesses += 1,
                Err(wait) => seconds(wait).await,
            }
        }
        assert!((470..=500).contains(&guesses), "{guesses}");
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_made_all_at_once_are_paid_for_later() {
        let logins = FailedLogins::new(FailedLoginLimits { per_account: 1000, ..LIMITS });
        let volley: Vec<Attempt> =
            (0..100).map(|_| logins.attempt(ip(1), Some("marvin")).unwrap()).collect();
        volley.into_iter().for_each(Attempt::failed);
        assert_eq!(guess(&logins, ip(1), "marvin"), Err(900));
        // 100 failures are forgiven in 5 hours.
        seconds(4 * 3600).await;
        let attempt = logins.attempt(ip(1), None).unwrap();
        assert!(logins.attempt(ip(1), None).is_err(), "one at a time");
        drop(attempt);
        seconds(3600).await;
        let _several = [logins.attempt(ip(1), None).unwrap(), logins.attempt(ip(1), None).unwrap()];
    }

    #[tokio::test(start_paused = true)]
    async fn good_logins_of_one_address_are_never_held_up_however_many_at_once() {
        let logins = FailedLogins::new(LIMITS);
        let attempts: Vec<Attempt> =
            (0..1000).map(|_| logins.attempt(ip(1), Some("factory")).unwrap()).collect();
        attempts.into_iter().for_each(Attempt::succeeded);
        assert!(may(&logins, ip(1), "factory"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_own_account_does_not_buy_more_guesses() {
        let logins = FailedLogins::new(LIMITS);
        let mut waits = 0;
        for _ in 0..10 {
            waits += u32::from(guess(&logins, ip(1), "marvin").is_err());
            if let Ok(own) = logins.attempt(ip(1), Some("zarniwoop")) {
                own.succeeded();
            }
        }
        assert_eq!(waits, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_guarded_against_many_addresses_but_not_from_those_that_it_knows() {
        let logins = FailedLogins::new(LIMITS);
        logins.attempt(ip(200), Some("marvin")).unwrap().succeeded();
        for address in 0..5 {
            assert_eq!(guess(&logins, ip(address), "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, ip(6), "marvin"), Err(1));
        assert!(may(&logins, ip(6), "zaphod"), "another account is not held up");
        assert!(may(&logins, ip(200), "marvin"), "nor where it logged in before");
        for _ in 0..3 {
            assert_eq!(guess(&logins, ip(200), "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, ip(200), "marvin"), Err(1), "by its own failures it is");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_to_no_end_counts_for_nothing() {
        let logins = FailedLogins::new(LIMITS);
        for _ in 0..100 {
            drop(logins.attempt(ip(1), Some("marvin")).unwrap());
        }
        let tables = logins.tables();
        assert_eq!((tables.addresses.len(), tables.accounts.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_address_the_account_is_guarded_still() {
        let logins = FailedLogins::new(LIMITS);
        for _ in 0..5 {
            assert_eq!(guess(&logins, None, "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, None, "marvin"), Err(1));
        assert!(logins.attempt(None, None).is_ok());
    }

    #[test]
    fn no_name_is_shown() {
        let logins = FailedLogins::default();
        let attempt = logins.attempt(ip(1), Some("marvin")).unwrap();
        assert!(!format!("{attempt:?}").contains("marvin"));
    }
}
