//! From where accounts were used, and the trait that keeps it. What it is good for is up to the server.

use std::net::IpAddr;

use crate::boxed::StoreFuture;

/// Stores from which networks accounts were used. Follows the [contract](crate#contract) of every store.
///
/// It keeps at most [`KnownLogin::MAX`] pairs of an account and a network, and drops those of the account
/// that has the most first, the least recent of them. The pairs of an account go with the account.
pub trait KnownLoginStore: Send + Sync + 'static {
    /// Notes a login that was accepted. Never waits.
    fn login_succeeded(&self, login: KnownLogin);

    /// The latest `limit` pairs of an account and a network, the most recently used first.
    fn known_logins(&self, limit: u32) -> StoreFuture<'_, Vec<KnownLogin>>;

    /// Drops the pairs that have not been used for [`KnownLogin::MAX_AGE`] at `now`, in seconds since
    /// 1970-01-01 UTC. Only for a time that can be trusted, see [`Clock::is_trusted`](crate::Clock).
    fn expire_known_logins(&self, now: u64) -> StoreFuture<'_, ()>;
}

/// An account was used from a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads and fills it, and one that ignores a new field must not compile"
)]
pub struct KnownLogin {
    /// The address, or the first of its network.
    pub address: IpAddr,
    /// The name of the account.
    pub account: String,
    /// When it was last used from there, in seconds since 1970-01-01 UTC.
    pub at: u64,
}

impl KnownLogin {
    /// The largest number of pairs.
    pub const MAX: u32 = 16_384;

    /// How long a pair is kept without being used, in seconds: a year.
    pub const MAX_AGE: u64 = 365 * 24 * 3600;
}
