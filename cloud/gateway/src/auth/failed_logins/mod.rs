//! Rate limits failed logins, against guessing of passwords and API tokens.

mod known;
mod pressure;
mod table;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fedecks_edge::RateLimitKey;
use fedecks_store::{KnownLogin, KnownLoginStore, StoreError, unix_now};
use parking_lot::Mutex;
use tokio::time::Instant;

use known::{Account, KnownPairs};
use pressure::{Pressure, Visitor};
use table::Table;

/// Slows down guessing of passwords, before any work is spent on a guess. Clones share their state: use
/// one for everything that checks secrets.
///
/// **An address** (a /64 network with IPv6) pays for its own failures. The first few are free; after that
/// each failure bars it from further attempts, for 1 s at first and twice as long each time, up to 15
/// minutes. One failure is forgiven every 3 minutes, so in the long run an attacker gets 20 guesses an
/// hour, however they are timed. A success does not reset the count, because an attacker may have a valid
/// account, too.
///
/// **An account** that is attacked from many addresses is slowed and not shut. Up to 5 failures of each
/// address count, for a day; at [`FailedLoginLimits::per_account`] of them, the addresses that have never
/// logged in to the account take turns: 4 per second of those that have not failed there in that day, and
/// one every 3 s of the others. Addresses that have logged in to it before are not affected; with
/// [`FailedLogins::load`] they are known after a restart too.
///
/// All state is bounded in size, 40 MiB at most.
///
/// Device tokens are not affected: a device that connects with a token is never slowed down, whatever
/// other clients of the same address do.
#[derive(Clone)]
pub struct FailedLogins(Arc<Inner>);

/// How many failures are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedLoginLimits {
    /// Per address.
    pub per_address: u32,
    /// Per account, from all addresses that have never logged in to it.
    pub per_account: u32,
}

/// There were too many failed logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins, try again in {} s", retry_after.as_secs())]
#[non_exhaustive]
pub struct TooManyFailures {
    /// How long to wait before the next attempt, in whole seconds, at least one.
    pub retry_after: Duration,
}

/// A login in progress. It belongs to the work: move it to where the secret is checked. If it is dropped
/// without a result, as when a client hangs up, it counts as failed.
#[must_use]
pub struct Attempt {
    logins: FailedLogins,
    address: Option<RateLimitKey>,
    account: Option<(Account, String)>,
    /// Whether the address has logged in to the account before: then only the address counts.
    known: bool,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Failed,
    Succeeded,
    Withdrawn,
}

struct Inner {
    limits: FailedLoginLimits,
    /// Accounts are identified by a keyed hash: no one can provoke collisions.
    hasher: RandomState,
    tables: Mutex<Tables>,
    /// Where the known addresses are kept.
    store: Option<Arc<dyn KnownLoginStore>>,
}

#[derive(Default)]
struct Tables {
    addresses: Table<RateLimitKey>,
    pressure: Pressure,
    known: KnownPairs,
}

impl Default for FailedLoginLimits {
    /// 10 per address, 50 per account.
    fn default() -> Self {
        Self { per_address: 10, per_account: 50 }
    }
}

impl FailedLogins {
    /// Without any failures yet, and without known addresses.
    pub fn new(limits: FailedLoginLimits) -> Self {
        Self::with(limits, None)
    }

    /// Without any failures yet. The addresses that have logged in to accounts before are those that
    /// `store` has, and are kept there.
    pub async fn load(
        limits: FailedLoginLimits,
        store: Arc<dyn KnownLoginStore>,
    ) -> Result<Self, StoreError> {
        let latest_first = store.known_logins(known::MAX as u32).await?;
        let logins = Self::with(limits, Some(store));
        let mut tables = logins.0.tables.lock();
        for KnownLogin { address, account, at: _ } in latest_first.iter().rev() {
            tables.known.restore(RateLimitKey::of(*address), logins.hash(account));
        }
        drop(tables);
        Ok(logins)
    }

    fn with(limits: FailedLoginLimits, store: Option<Arc<dyn KnownLoginStore>>) -> Self {
        let (hasher, tables) = (RandomState::new(), Mutex::default());
        Self(Arc::new(Inner { limits, hasher, tables, store }))
    }

    /// Starts an attempt; call it before checking a secret. `account` is the given name, whether such an
    /// account exists or not; `None` if the login has no name, as with an API token.
    ///
    /// While an address has failures that are not yet forgiven, only as many of its logins may be in
    /// progress at the same time as it has free failures left, so that guessing in parallel gains nothing.
    pub fn attempt(
        &self,
        address: Option<IpAddr>,
        account: Option<&str>,
    ) -> Result<Attempt, TooManyFailures> {
        let now = Instant::now();
        let address = address.map(RateLimitKey::of);
        let account = account.map(|name| (self.hash(name), name.to_owned()));
        let visited = account.as_ref().map(|(account, _)| *account);
        let limits = &self.0.limits;
        let mut tables = self.0.tables.lock();
        let known = address.zip(visited).is_some_and(|(a, b)| tables.known.contains(a, b));
        // The turn at the account is taken last: an address that has to wait anyway must not use one up.
        let wait = address
            .and_then(|key| tables.addresses.wait(&key, limits.per_address, now))
            .or_else(|| {
                let account = visited.filter(|_| !known)?;
                tables.pressure.wait((account, address), limits.per_account.max(1), now)
            });
        if let Some(wait) = wait {
            drop(tables);
            let address = address.map(RateLimitKey::address);
            tracing::debug!(?address, "refused a login after too many failed ones");
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(TooManyFailures { retry_after: Duration::from_secs(seconds.max(1)) });
        }
        if let Some(address) = address {
            tables.addresses.begin(address, now);
        }
        drop(tables);
        let outcome = Outcome::Failed;
        Ok(Attempt { logins: self.clone(), address, account, known, outcome })
    }

    fn hash(&self, account: &str) -> Account {
        self.0.hasher.hash_one(account)
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
        self.ends(Outcome::Failed);
    }

    /// The secret was right. From now on the address is known to belong to the account.
    pub fn succeeded(self) {
        self.ends(Outcome::Succeeded);
    }

    /// No secret was checked, and no work was done: it does not count.
    pub fn withdrawn(self) {
        self.ends(Outcome::Withdrawn);
    }

    /// Whether the address has logged in to the account before.
    pub fn is_known(&self) -> bool {
        self.known
    }

    fn ends(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Where the failure counts besides the address.
    fn visitor(&self) -> Option<Visitor> {
        let (account, _) = self.account.as_ref().filter(|_| !self.known)?;
        Some((*account, self.address))
    }

    fn remember(&self, tables: &mut Tables, now: Instant) {
        let (Some(address), Some((account, name))) = (self.address, &self.account) else { return };
        if tables.known.used(address, *account, now) {
            if let Some(store) = &self.logins.0.store {
                let (address, account) = (address.address(), name.clone());
                store.login_succeeded(KnownLogin { address, account, at: unix_now() });
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let now = Instant::now();
        let limits = self.logins.0.limits;
        let mut tables = self.logins.0.tables.lock();
        match self.outcome {
            Outcome::Failed => {
                if let Some(address) = self.address {
                    tables.addresses.failed(address, limits.per_address, now);
                }
                if let Some(visitor) = self.visitor() {
                    tables.pressure.failed(visitor, limits.per_account.max(1), now);
                }
            }
            Outcome::Succeeded => self.remember(&mut tables, now),
            Outcome::Withdrawn => {}
        }
        if let Some(address) = &self.address {
            tables.addresses.end(address, now);
        }
    }
}

/// Without the name of the account, which may be a password that was typed into the wrong field.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.map(RateLimitKey::address);
        f.debug_struct("Attempt").field("address", &address).finish_non_exhaustive()
    }
}

impl fmt::Debug for FailedLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedLogins").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fedecks_store::{AccountStore, Actor, SqliteStore};

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
        attempt.withdrawn();
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
        for address in 0..6 {
            assert_eq!(guess(&logins, ip(address), "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, ip(6), "marvin"), Err(1));
        assert!(logins.attempt(ip(7), Some("zaphod")).is_ok(), "another account is not slowed");
        for _ in 0..3 {
            assert_eq!(guess(&logins, ip(200), "marvin"), Ok(()), "nor a known address");
        }
        assert_eq!(guess(&logins, ip(200), "marvin"), Err(1), "but by its own failures it is");
    }

    #[tokio::test(start_paused = true)]
    async fn a_barred_address_uses_up_no_turn_of_the_account() {
        let logins = limited();
        for address in [1, 1, 1, 2, 2] {
            assert_eq!(guess(&logins, ip(address), "marvin"), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(guess(&logins, ip(1), "marvin"), Err(1), "by its own failures");
        }
        assert_eq!(guess(&logins, ip(2), "marvin"), Ok(()), "the first turn");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_a_result_counts_as_failed() {
        let logins = limited();
        drop(attempts(&logins, 3, "marvin"));
        assert_eq!(guess(&logins, ip(1), "marvin"), Err(1));
        let logins = limited();
        attempts(&logins, 100, "marvin").into_iter().for_each(Attempt::withdrawn);
        assert_eq!(logins.0.tables.lock().addresses.len(), 0);
        assert_eq!(guess(&logins, ip(1), "marvin"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_protected_without_an_address() {
        let logins = limited();
        for _ in 0..6 {
            assert_eq!(guess(&logins, None, "marvin"), Ok(()));
        }
        assert_eq!(guess(&logins, None, "marvin"), Err(3));
        assert!(logins.attempt(None, None).is_ok());
    }

    #[tokio::test]
    async fn known_addresses_are_kept_in_the_store() {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        for account in ["marvin", "arthur"] {
            store.add_account(account, "hash", &Actor::cli()).await.unwrap();
        }
        let load = async || {
            let limits = FailedLoginLimits { per_address: 3, per_account: 1 };
            FailedLogins::load(limits, store.clone()).await.unwrap()
        };
        let logins = load().await;
        for account in ["marvin", "arthur", "marvin"] {
            logins.attempt(ip(1), Some(account)).unwrap().succeeded();
        }
        fedecks_testing::wait::until(async || {
            let kept = store.known_logins(10).await.unwrap();
            (kept.len() == 2).then_some(())
        })
        .await;
        let logins = load().await;
        let known = |address, account| {
            let attempt = logins.attempt(ip(address), Some(account)).unwrap();
            let known = attempt.is_known();
            attempt.withdrawn();
            known
        };
        assert!(known(1, "marvin") && known(1, "arthur"));
        assert!(!known(2, "marvin") && !known(1, "zaphod"));
    }

    #[test]
    fn debug_output_contains_no_name() {
        let logins = FailedLogins::default();
        let attempt = logins.attempt(ip(1), Some("marvin")).unwrap();
        assert!(!format!("{attempt:?}").contains("marvin"));
    }
}
