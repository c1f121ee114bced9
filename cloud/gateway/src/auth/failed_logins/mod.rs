//! Rate limits failed logins, against guessing of passwords and API tokens.

mod table;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fedecks_edge::RateLimitKey;
use parking_lot::Mutex;
use tokio::time::Instant;

use table::{KnownPairs, Table};

/// Slows down guessing of passwords, before any work is spent on a guess. Clones share their state: use
/// one for everything that checks secrets.
///
/// Failures are counted per address (per /64 network with IPv6) and per account. The first few are free;
/// after that each failure blocks further attempts, for 1 s at first and twice as long each time, up to
/// 15 minutes. One failure is forgiven every 3 minutes, so in the long run an attacker gets 20 guesses an
/// hour, however they are timed. A success does not reset the count, because an attacker may have a valid
/// account, too.
///
/// If an account is attacked from many addresses, an address that has logged in to it before is not
/// blocked: there, only its own failures count. All state is in memory, bounded in size, and lost when
/// the process ends.
///
/// Device tokens are not affected: a device that connects with a token is never slowed down, whatever
/// other clients of the same address do.
#[derive(Clone)]
pub struct FailedLogins(Arc<Inner>);

/// How many failures are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedLoginLimits {
    /// Per address.
    pub per_address: u32,
    /// Per account, from all addresses that have never logged in to it.
    pub per_account: u32,
}

/// There were too many failed logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins, try again in {} s", retry_after.as_secs())]
pub struct TooManyFailures {
    /// How long to wait before the next attempt, in whole seconds, at least one.
    pub retry_after: Duration,
}

/// A login in progress. If it is dropped without a result, it does not count.
#[must_use]
#[derive(Debug)]
pub struct Attempt {
    logins: FailedLogins,
    address: Option<RateLimitKey>,
    account: Option<Account>,
    /// Whether the address has logged in to the account before: then only the address counts.
    known: bool,
}

struct Inner {
    limits: FailedLoginLimits,
    /// Accounts are identified by a keyed hash: no name is stored, and no one can provoke collisions.
    hasher: RandomState,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    addresses: Table<RateLimitKey>,
    accounts: Table<Account>,
    known: KnownPairs<(RateLimitKey, Account)>,
}

type Account = u64;

impl Default for FailedLoginLimits {
    /// 10 per address, 50 per account.
    fn default() -> Self {
        Self { per_address: 10, per_account: 50 }
    }
}

impl FailedLogins {
    /// Without any failures yet.
    pub fn new(limits: FailedLoginLimits) -> Self {
        Self(Arc::new(Inner { limits, hasher: RandomState::new(), tables: Mutex::default() }))
    }

    /// Starts an attempt; call it before checking a secret. `account` is the given name, whether such an
    /// account exists or not; `None` if the login has no name, as with an API token.
    ///
    /// While there are failures that are not yet forgiven, only as many logins may be in progress at the
    /// same time as there are free failures left, so that guessing in parallel gains nothing.
    pub fn attempt(
        &self,
        address: Option<IpAddr>,
        account: Option<&str>,
    ) -> Result<Attempt, TooManyFailures> {
        let now = Instant::now();
        let address = address.map(RateLimitKey::of);
        let account = account.map(|name| self.0.hasher.hash_one(name));
        let mut tables = self.0.tables.lock();
        let known = address.zip(account).is_some_and(|pair| tables.known.contains(&pair));
        let counted = account.filter(|_| !known);
        let limits = &self.0.limits;
        let address_wait =
            address.and_then(|key| tables.addresses.wait(&key, limits.per_address, now));
        let account_wait =
            counted.and_then(|key| tables.accounts.wait(&key, limits.per_account, now));
        if let Some(wait) = address_wait.max(account_wait) {
            drop(tables);
            let address = address.map(RateLimitKey::address);
            tracing::debug!(?address, "refused a login after too many failed ones");
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
}

impl Default for FailedLogins {
    fn default() -> Self {
        Self::new(FailedLoginLimits::default())
    }
}

impl Attempt {
    /// The secret is wrong, or the account does not exist.
    pub fn failed(self) {
        let now = Instant::now();
        let limits = self.logins.0.limits;
        let mut tables = self.logins.0.tables.lock();
        if let Some(address) = self.address {
            tables.addresses.failed(address, limits.per_address, now);
        }
        if let Some(account) = self.counted() {
            tables.accounts.failed(account, limits.per_account, now);
        }
    }

    /// The secret was right. From now on the address is known to belong to the account.
    pub fn succeeded(self) {
        if let Some(pair) = self.address.zip(self.account) {
            self.logins.0.tables.lock().known.insert(pair, Instant::now());
        }
    }

    fn counted(&self) -> Option<Account> {
        self.account.filter(|_| !self.known)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut tables = self.logins.0.tables.lock();
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

    fn limited() -> FailedLogins {
        FailedLogins::new(FailedLoginLimits { per_address: 3, per_account: 5 })
    }

    fn limited_by_address() -> FailedLogins {
        FailedLogins::new(FailedLoginLimits { per_address: 3, per_account: 1000 })
    }

    fn ip(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    /// Makes a wrong guess, or returns the seconds to wait.
    fn guess(logins: &FailedLogins, address: Option<IpAddr>, account: &str) -> Result<(), u64> {
        let attempt = logins.attempt(address, Some(account));
        attempt.map(Attempt::failed).map_err(|error| error.retry_after.as_secs())
    }

    /// Parallel attempts.
    fn attempts(logins: &FailedLogins, count: usize, account: &str) -> Vec<Attempt> {
        (0..count).map(|_| logins.attempt(ip(1), Some(account)).unwrap()).collect()
    }

    async fn seconds(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_doubles_with_every_failure_up_to_15_minutes() {
        let logins = limited_by_address();
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
        assert_eq!(guess(&logins, ip(2), "marvin"), Ok(()), "another address is not blocked");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_gets_20_guesses_an_hour_in_the_long_run() {
        let logins = limited_by_address();
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
    async fn parallel_guesses_are_charged_later() {
        let logins = limited_by_address();
        attempts(&logins, 100, "marvin").into_iter().for_each(Attempt::failed);
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
    async fn parallel_successful_logins_are_never_blocked() {
        let logins = limited();
        attempts(&logins, 1000, "factory").into_iter().for_each(Attempt::succeeded);
        assert!(logins.attempt(ip(1), Some("factory")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attackers_own_account_gains_no_guesses() {
        let logins = limited();
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
    async fn an_account_under_attack_stays_open_to_known_addresses() {
        let logins = limited();
        logins.attempt(ip(200), Some("marvin")).unwrap().succeeded();
        for address in 0..5 {
            assert_eq!(guess(&logins, ip(address), "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, ip(6), "marvin"), Err(1));
        assert!(logins.attempt(ip(6), Some("zaphod")).is_ok(), "another account is not blocked");
        assert!(logins.attempt(ip(200), Some("marvin")).is_ok(), "nor a known address");
        for _ in 0..3 {
            assert_eq!(guess(&logins, ip(200), "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, ip(200), "marvin"), Err(1), "but by its own failures it is");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_a_result_does_not_count() {
        let logins = limited();
        drop(attempts(&logins, 100, "marvin"));
        let tables = logins.0.tables.lock();
        assert_eq!((tables.addresses.len(), tables.accounts.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_protected_without_an_address() {
        let logins = limited();
        for _ in 0..5 {
            assert_eq!(guess(&logins, None, "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, None, "marvin"), Err(1));
        assert!(logins.attempt(None, None).is_ok());
    }

    #[test]
    fn debug_output_contains_no_name() {
        let logins = FailedLogins::default();
        let attempt = logins.attempt(ip(1), Some("marvin")).unwrap();
        assert!(!format!("{attempt:?}").contains("marvin"));
    }
}
