//! Registrations: which device was let in by what, under which conditions an id may be registered again, and their
//! trait.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use fedecks_protocol::DeviceId;

use crate::audit::Actor;
use crate::boxed::StoreFuture;
use crate::claims::{ClaimId, ClaimSecret};
use crate::device_pattern::DevicePattern;

/// Stores registrations. Follows the [contract](crate#contract) of every store; each change is audited.
pub trait RegistrationStore: Send + Sync + 'static {
    /// Registers a device whose proof is right, or says why not. All in one transaction: what it checks, the use of the
    /// claim, the device, and the line of the audit log. So of two at the same time that need the same use, or the same
    /// id, one gets it.
    ///
    /// An id is taken once it has been registered or seen, until it is forgotten. It is registered again only:
    ///
    /// - by the same proof with the same nonce, for [`REPETITION_S`] and until the device has come by token:
    ///   [`RegistrationOutcome::Repeated`]. An account needs no nonce if the device had none when it registered.
    /// - by a claim for exactly this id, within its returns and once in [`RETURN_INTERVAL_S`], or by the certificate
    ///   with the same key, while no session of the device is at work.
    /// - after [`RegistrationStore::allow_reregistration`], once.
    /// - if the request says that it may.
    ///
    /// In all cases but the first, the generation of the device's tokens rises. Only new ids and returns count for a
    /// claim.
    ///
    /// Refusals are audited, one of a kind for a device within an hour, but not those of unknown claims, of blocked
    /// devices and of those that wait for approval.
    fn register<'a>(
        &'a self,
        request: &'a RegistrationRequest,
    ) -> StoreFuture<'a, RegistrationOutcome>;

    /// A page of the registrations that wait for an operator, ordered by device: at most `limit` and
    /// [`Approval::MAX_PAGE`], those after the device `after`.
    fn approvals_page<'a>(
        &'a self,
        after: Option<&'a DeviceId>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<Approval>>;

    /// Lets the device that waits register when it asks the next time, within [`REPETITION_S`]. Returns false if none
    /// waits.
    fn approve<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, bool>;

    /// Refuses the device that waits, for [`REPETITION_S`]. Returns false if none waits.
    fn reject<'a>(&'a self, device: &'a DeviceId, by: &'a Actor) -> StoreFuture<'a, bool>;

    /// Lets a device that is registered do so again, once, until the time `until` in seconds since 1970-01-01 UTC.
    /// Returns false for an unknown device.
    fn allow_reregistration<'a>(
        &'a self,
        device: &'a DeviceId,
        until: u64,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool>;

    /// Keeps the key of a device's certificate, which has to be the only one that may register it again. Returns false
    /// for an unknown device.
    fn set_certificate_key<'a>(
        &'a self,
        device: &'a DeviceId,
        key: [u8; 32],
        by: &'a Actor,
    ) -> StoreFuture<'a, bool>;

    /// Revokes the tokens of all devices that the filter selects, in steps, so that others are not kept waiting. If it
    /// fails, some may be revoked; each is revoked again when it is called again. With `dry_run` it changes nothing.
    ///
    /// A running server learns of it when it polls the store for changes, or by `Denylist::refresh`.
    fn revoke_matching<'a>(
        &'a self,
        filter: &'a RevokeFilter,
        dry_run: bool,
        by: &'a Actor,
    ) -> StoreFuture<'a, RevokedDevices>;
}

/// How long the same nonce is the same registration, in seconds, and how long an operator's permission lasts: a day.
pub const REPETITION_S: u64 = 86_400;

/// How long after a return by a claim or a certificate the next one may follow, in seconds: an hour.
pub const RETURN_INTERVAL_S: u64 = 3600;

/// What a device was let in by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegisteredBy {
    /// The account of this name.
    Account(String),
    /// A claim.
    Claim(ClaimId),
    /// A client certificate with this public key.
    Certificate {
        /// The SHA-256 of the public key.
        key: [u8; 32],
    },
    /// Something that this version does not know.
    Other,
}

/// As in the audit log: `account:NAME`, `claim:ID`, `certificate:SHA-256`, `other`.
impl fmt::Display for RegisteredBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => write!(f, "account:{name}"),
            Self::Claim(id) => write!(f, "claim:{id}"),
            Self::Certificate { key } => write!(f, "certificate:{}", HEXLOWER.encode(key)),
            Self::Other => f.write_str("other"),
        }
    }
}

impl RegisteredBy {
    /// The inverse of its `Display`; [`RegisteredBy::Other`] for anything unknown.
    pub fn from_text(text: &str) -> Self {
        let parsed = match text.split_once(':') {
            Some(("account", name)) => Some(Self::Account(name.to_owned())),
            Some(("claim", id)) => ClaimId::from_str(id).ok().map(Self::Claim),
            Some(("certificate", key)) => {
                let key = HEXLOWER.decode(key.as_bytes()).ok();
                key.and_then(|key| key.try_into().ok()).map(|key| Self::Certificate { key })
            }
            _ => None,
        };
        parsed.unwrap_or(Self::Other)
    }
}

impl Actor {
    /// What lets a device in.
    pub fn registrant(by: &RegisteredBy) -> Self {
        match by {
            RegisteredBy::Account(name) => Self::account(name),
            RegisteredBy::Claim(_) | RegisteredBy::Certificate { .. } | RegisteredBy::Other => {
                Self::called(by.to_string())
            }
        }
    }
}

/// By what a device was registered, when and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct Registration {
    /// What let it in.
    pub by: RegisteredBy,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// From which address, if it is known.
    pub address: Option<IpAddr>,
}

/// A proof that was found to be right, except for a claim: the store knows the right ones.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every store has to judge each of them")]
pub enum RegistrationProof {
    /// A claim whose secret has this SHA-256, see [`ClaimSecret::hash`].
    Claim([u8; 32]),
    /// The account of this name: its password was right.
    Account(String),
    /// The certificate with this public key, which was verified, and is in the name of the device.
    Certificate {
        /// The SHA-256 of the public key.
        key: [u8; 32],
    },
}

impl From<&ClaimSecret> for RegistrationProof {
    fn from(secret: &ClaimSecret) -> Self {
        Self::Claim(secret.hash())
    }
}

impl fmt::Debug for RegistrationProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(_) => f.write_str("Claim(…)"),
            Self::Account(name) => f.debug_tuple("Account").field(name).finish(),
            Self::Certificate { key } => {
                f.debug_tuple("Certificate").field(&HEXLOWER.encode(key)).finish()
            }
        }
    }
}

/// The random number that a device makes before its first login and sends with each one until it has a token. As text
/// 32 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "random bytes and nothing else")]
pub struct RegistrationNonce(pub [u8; 16]);

/// A text that is not a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a registration nonce has 32 hexadecimal characters")]
#[non_exhaustive]
pub struct InvalidRegistrationNonce;

impl FromStr for RegistrationNonce {
    type Err = InvalidRegistrationNonce;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| InvalidRegistrationNonce)?;
        bytes.try_into().map(Self).map_err(|_| InvalidRegistrationNonce)
    }
}

/// Together with the proof it is a secret.
impl fmt::Debug for RegistrationNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrationNonce(…)")
    }
}

/// A device that asks to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct RegistrationRequest {
    /// Which device.
    pub device: DeviceId,
    /// What it presents.
    pub proof: RegistrationProof,
    /// Its nonce; older devices have none.
    pub nonce: Option<RegistrationNonce>,
    /// From which address, if it is known.
    pub address: Option<IpAddr>,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Whether the id has a session at work.
    pub in_use: bool,
    /// Whether an id may be registered again by anyone who has a right proof, as in trials.
    pub may_reregister: bool,
}

/// The outcome of [`RegistrationStore::register`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every caller has to decide about each of them")]
pub enum RegistrationOutcome {
    /// The device is registered.
    Registered {
        /// By what, when and from where.
        registration: Registration,
        /// Whether the id had been registered or seen before. Then its earlier tokens are revoked.
        returned: bool,
        /// The generation of its tokens from now on.
        generation: u64,
    },
    /// The device had been registered by the same proof and nonce, and has not got the answer.
    Repeated {
        /// By what, when and from where.
        registration: Registration,
        /// The generation of its tokens.
        generation: u64,
    },
    /// It is not registered. Nothing was counted.
    Refused(RegistrationRefusal),
}

/// Why a device is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every caller has to decide about each of them")]
pub enum RegistrationRefusal {
    /// There is no claim with this secret.
    UnknownClaim,
    /// The claim has expired.
    ClaimExpired,
    /// No use, and no return, of the claim is left.
    ClaimUsedUp,
    /// The claim was revoked.
    ClaimRevoked,
    /// The claim is for other ids.
    ClaimMismatch,
    /// The device is blocked.
    Blocked,
    /// The id is taken.
    IdTaken,
    /// The id has a session at work.
    InUse,
    /// An operator has to approve it.
    ApprovalPending,
    /// An operator has rejected it.
    ApprovalRejected,
    /// The device has returned shortly before.
    ReturnTooSoon {
        /// When it may return again.
        retry_after: Duration,
    },
    /// The key of the certificate was revoked with the tokens of the device.
    KeyRefused,
}

impl RegistrationRefusal {
    /// As in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownClaim => "unknown-claim",
            Self::ClaimExpired => "claim-expired",
            Self::ClaimUsedUp => "claim-used-up",
            Self::ClaimRevoked => "claim-revoked",
            Self::ClaimMismatch => "claim-mismatch",
            Self::Blocked => "blocked",
            Self::IdTaken => "id-taken",
            Self::InUse => "in-use",
            Self::ApprovalPending => "approval-pending",
            Self::ApprovalRejected => "approval-rejected",
            Self::ReturnTooSoon { .. } => "return-too-soon",
            Self::KeyRefused => "key-refused",
        }
    }
}

/// A registration that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct Approval {
    /// Which device.
    pub device: DeviceId,
    /// The claim that it presents.
    pub claim: ClaimId,
    /// When it asked first, in seconds since 1970-01-01 UTC.
    pub since: u64,
    /// When it asked last, in seconds since 1970-01-01 UTC.
    pub asked_at: u64,
    /// From which address it asked last, if it is known.
    pub address: Option<IpAddr>,
}

impl Approval {
    /// How many may wait. Above that those that have not asked for the longest time are given up.
    pub const MAX: u32 = 10_000;

    /// The largest number in one answer.
    pub const MAX_PAGE: u32 = 1000;

    /// How long a device may not have asked, in seconds, before another one with the same id and claim, but another
    /// nonce, replaces it: ten minutes.
    pub const SILENT_S: u64 = 600;
}

/// Selects devices whose tokens are revoked: those that meet all of its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct RevokeFilter {
    /// Only those that this let in.
    pub by: Option<RegisteredBy>,
    /// Only those that the pattern matches.
    pub devices: Option<DevicePattern>,
}

/// The outcome of [`RegistrationStore::revoke_matching`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct RevokedDevices {
    /// The first of the devices, at most [`RevokedDevices::MAX_NAMED`], ordered by id.
    pub devices: Vec<DeviceId>,
    /// How many there are.
    pub count: u64,
}

impl RevokedDevices {
    /// How many devices are named.
    pub const MAX_NAMED: usize = 100;
}
