//! Claims: secrets that let devices register, with the ids and the number of registrations that each is good for, and
//! their trait.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use fedecks_protocol::DeviceId;
use ring::digest::{SHA256, digest};

use crate::audit::Actor;
use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;
use crate::time::unix_now;

/// Stores claims. Follows the [contract](crate#contract) of every store; adding and revoking are audited. What a claim
/// lets in is up to [`RegistrationStore`](crate::RegistrationStore).
pub trait ClaimStore: Send + Sync + 'static {
    /// Adds claims, all or none. Fails with [`StoreError::TooMany`](crate::StoreError::TooMany) above
    /// [`NewClaim::MAX_AT_ONCE`] of them, and above [`ClaimRecord::MAX`] in sum, and with
    /// [`StoreError::Exists`](crate::StoreError::Exists) if an id or a secret is taken.
    fn add_claims<'a>(&'a self, claims: &'a [NewClaim], by: &'a Actor) -> StoreFuture<'a, ()>;

    /// A page of the claims, the newest first.
    fn claims_page<'a>(&'a self, query: &'a ClaimQuery) -> StoreFuture<'a, Vec<ClaimRecord>>;

    /// One claim, if there is one with this id.
    fn claim(&self, id: ClaimId) -> StoreFuture<'_, Option<ClaimRecord>>;

    /// The claim whose secret has this SHA-256, whatever its state. Strangers may ask as often as they like.
    fn claim_by_hash<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<ClaimRecord>>;

    /// A page of the registrations by a claim, the newest first: at most `limit` and [`ClaimUse::MAX_PAGE`], those
    /// before the one with the number `before`. A store keeps the latest [`ClaimUse::MAX`] of all claims.
    fn claim_uses(
        &self,
        id: ClaimId,
        before: Option<u64>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<ClaimUse>>;

    /// Makes a claim useless. What it has registered is not affected. Returns false if it is revoked already, or
    /// there is none of this id.
    fn revoke_claim<'a>(&'a self, id: ClaimId, by: &'a Actor) -> StoreFuture<'a, bool>;

    /// Deletes some of the claims that have been useless for [`ClaimRecord::KEPT_S`] at `now`, in seconds since
    /// 1970-01-01 UTC, with their uses, and of what has waited for approval for a week without asking again; returns how
    /// many rows: 0 if none is left. Only for a time that can be trusted, see [`Clock::is_trusted`](crate::Clock).
    fn expire_claims(&self, now: u64) -> StoreFuture<'_, usize>;
}

/// The secret of a claim: `fdc_` and 16 random bytes in base32 (26 lower-case characters). `Debug` does not show it.
///
/// ```
/// # mod fedecks_cloud { pub use fedecks_store as store; }
/// use fedecks_cloud::store::ClaimSecret;
///
/// let secret = ClaimSecret::generate();
/// assert!(secret.expose().starts_with("fdc_"));
/// assert_eq!(secret.expose().parse::<ClaimSecret>().unwrap(), secret);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimSecret(String);

/// A text that cannot be the secret of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a claim is fdc_ and 26 characters of a to z and 2 to 7")]
#[non_exhaustive]
pub struct InvalidClaimSecret;

/// The prefix of every secret, by which scanners find leaked ones.
const PREFIX: &str = "fdc_";

/// The number of characters after the prefix.
const SECRET_CHARS: usize = 26;

impl ClaimSecret {
    /// A new random secret.
    pub fn generate() -> Self {
        let random: [u8; 16] = rand::random();
        Self(format!("{PREFIX}{}", BASE32_NOPAD.encode(&random).to_ascii_lowercase()))
    }

    /// The secret itself. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its SHA-256, which is all that a store keeps. A slow hash is unnecessary for 16 random bytes.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        hash
    }
}

impl FromStr for ClaimSecret {
    type Err = InvalidClaimSecret;

    /// Case is not significant, as for a text that somebody has typed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        let secret = text.strip_prefix(PREFIX).ok_or(InvalidClaimSecret)?;
        let allowed = |b: u8| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b);
        if secret.len() != SECRET_CHARS || !secret.bytes().all(allowed) {
            return Err(InvalidClaimSecret);
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for ClaimSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimSecret(…)")
    }
}

/// What operators call a claim by: a random number, as text 12 hexadecimal characters. No secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(u64);

/// A text that is not the id of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a claim has 12 hexadecimal characters")]
#[non_exhaustive]
pub struct InvalidClaimId;

impl ClaimId {
    /// How many bits it has.
    const BITS: u32 = 48;

    /// A new random id.
    pub fn generate() -> Self {
        Self(rand::random::<u64>() >> (u64::BITS - Self::BITS))
    }

    /// The id of this number, which has 48 bits.
    pub fn from_number(number: u64) -> Option<Self> {
        (number >> Self::BITS == 0).then_some(Self(number))
    }

    /// Its number, as in a store.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl FromStr for ClaimId {
    type Err = InvalidClaimId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidClaimId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidClaimId)
    }
}

/// A claim to add.
#[derive(Debug, Clone)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct NewClaim {
    /// What operators call it by.
    pub id: ClaimId,
    /// The secret. The store keeps its hash.
    pub secret: ClaimSecret,
    /// The ids that it is good for.
    pub devices: DevicePattern,
    /// How many devices it registers, from 1 to [`NewClaim::MAX_USES`].
    pub uses: u32,
    /// How often the device may register again after that, if the pattern is the id of one device, at most
    /// [`NewClaim::MAX_USES`]. Of no effect for other patterns.
    pub returns: u32,
    /// When it expires, in seconds since 1970-01-01 UTC; `None` if it never does.
    pub expires_at: Option<u64>,
    /// The label of the devices that it registers, see [`check_label`](crate::check_label).
    pub label: Option<String>,
    /// Whether an operator has to approve each registration.
    pub approval: bool,
    /// A note for operators, see [`check_label`](crate::check_label).
    pub note: Option<String>,
}

impl NewClaim {
    /// The largest number of claims in one call.
    pub const MAX_AT_ONCE: usize = 10_000;

    /// The largest number of uses.
    pub const MAX_USES: u32 = 1_000_000;

    /// How often a device returns by a claim for it, unless told otherwise.
    pub const DEFAULT_RETURNS: u32 = 3;

    /// A claim for one use of these ids, with a random id and a random secret. It does not expire, needs no approval,
    /// and lets a device return [`NewClaim::DEFAULT_RETURNS`] times.
    pub fn new(devices: DevicePattern) -> Self {
        Self {
            id: ClaimId::generate(),
            secret: ClaimSecret::generate(),
            devices,
            uses: 1,
            returns: Self::DEFAULT_RETURNS,
            expires_at: None,
            label: None,
            approval: false,
            note: None,
        }
    }
}

/// A claim as the store keeps it, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct ClaimRecord {
    /// What operators call it by.
    pub id: ClaimId,
    /// The ids that it is good for.
    pub devices: DevicePattern,
    /// How many devices it registers.
    pub uses: u32,
    /// How many it has registered.
    pub used: u32,
    /// How often the device may register again after that; 0 unless the pattern is the id of one device.
    pub returns: u32,
    /// How often it has.
    pub returned: u32,
    /// When it expires, in seconds since 1970-01-01 UTC; `None` if it never does.
    pub expires_at: Option<u64>,
    /// When it was revoked, in seconds since 1970-01-01 UTC; `None` if it was not.
    pub revoked_at: Option<u64>,
    /// The label of the devices that it registers.
    pub label: Option<String>,
    /// Whether an operator has to approve each registration.
    pub approval: bool,
    /// A note for operators.
    pub note: Option<String>,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
    /// Who added it, see [`Actor`].
    pub created_by: String,
}

impl ClaimRecord {
    /// The largest number of claims.
    pub const MAX: u32 = 1_000_000;

    /// How long one is kept after it has become useless, in seconds: a year.
    pub const KEPT_S: u64 = 365 * 86_400;

    /// Its state at `now`, in seconds since 1970-01-01 UTC.
    pub fn state(&self, now: u64) -> ClaimState {
        if self.revoked_at.is_some() {
            ClaimState::Revoked
        } else if self.expires_at.is_some_and(|at| at <= now) {
            ClaimState::Expired
        } else if self.used >= self.uses && self.returned >= self.returns {
            ClaimState::UsedUp
        } else {
            ClaimState::Active
        }
    }
}

/// What a claim is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimState {
    /// It can be used, or its device can return by it.
    Active,
    /// No use and no return is left.
    UsedUp,
    /// It has expired.
    Expired,
    /// An operator has revoked it.
    Revoked,
}

impl ClaimState {
    /// All states.
    pub const ALL: &[Self] = &[Self::Active, Self::UsedUp, Self::Expired, Self::Revoked];

    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::UsedUp => "used-up",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// The inverse of [`ClaimState::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == word)
    }
}

/// Selects claims.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct ClaimQuery {
    /// Only those that come after this one in the order of the answer: those that were added before it.
    pub after: Option<ClaimId>,
    /// The largest number of claims; values above [`ClaimQuery::MAX`] count as that.
    pub limit: u32,
    /// Only those with this text in their id, pattern, label or note, ignoring case.
    pub search: Option<String>,
    /// Only those in this state.
    pub state: Option<ClaimState>,
    /// When, in seconds since 1970-01-01 UTC, for the state.
    pub now: u64,
}

impl ClaimQuery {
    /// The largest number of claims in one answer.
    pub const MAX: u32 = 1000;
}

impl Default for ClaimQuery {
    /// The latest 1,000 claims.
    fn default() -> Self {
        Self { after: None, limit: Self::MAX, search: None, state: None, now: unix_now() }
    }
}

/// A registration by a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct ClaimUse {
    /// Its number; a later one has a higher one.
    pub number: u64,
    /// Which device.
    pub device: DeviceId,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// From which address, if it is known.
    pub address: Option<IpAddr>,
    /// Whether the id had been registered before.
    pub returned: bool,
}

impl ClaimUse {
    /// How many are kept, of all claims.
    pub const MAX: u32 = 1_000_000;

    /// The largest number in one answer.
    pub const MAX_PAGE: u32 = 1000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_random_not_shown_and_read_in_any_case() {
        let secret = ClaimSecret::generate();
        assert_ne!(secret, ClaimSecret::generate());
        assert_eq!(secret.expose().len(), 30);
        assert_eq!(format!("{secret:?}"), "ClaimSecret(…)");
        let typed: ClaimSecret = secret.expose().to_ascii_uppercase().parse().unwrap();
        assert_eq!(typed.hash(), secret.hash());
        // `printf fdc_aaaaaaaaaaaaaaaaaaaaaaaaaa | sha256sum`
        let known: ClaimSecret = "fdc_aaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&known.hash()), KNOWN);
        let [short, long] = ["a".repeat(25), "a".repeat(27)];
        for text in ["", "fdc_", &format!("fdc_{short}"), &format!("fdc_{long}"), "fdk_x"] {
            assert_eq!(text.parse::<ClaimSecret>(), Err(InvalidClaimSecret), "{text:?}");
        }
        let digit = format!("fdc_{short}1");
        assert_eq!(digit.parse::<ClaimSecret>(), Err(InvalidClaimSecret));
    }

    const KNOWN: &str = "390be3db7afeb46e7cd6a7d34968e959b5bc1e58477d5d4e0eadad83a96cd663";

    #[test]
    fn the_id_of_a_claim_is_12_hexadecimal_characters() {
        let id = ClaimId::generate();
        assert_eq!(id.to_string().len(), 12);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ClaimId::from_number(id.number()), Some(id));
        assert_eq!(ClaimId::from_number(1 << 48), None);
        for text in ["", "12345678901", "1234567890123", "12345678901g", "+23456789012"] {
            assert_eq!(text.parse::<ClaimId>(), Err(InvalidClaimId), "{text:?}");
        }
    }

    #[test]
    fn every_state_is_parsed_from_its_word() {
        for state in ClaimState::ALL {
            assert_eq!(ClaimState::from_word(state.as_str()), Some(*state));
        }
        assert_eq!(ClaimState::from_word("nonsense"), None);
    }
}
