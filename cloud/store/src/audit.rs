//! The audit log: who did what, and its trait.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use fedecks_protocol::DeviceId;

use crate::boxed::StoreFuture;

/// Stores the audit log. Follows the [contract](crate#contract) of every store.
pub trait AuditStore: Send + Sync + 'static {
    /// Adds a line about something that does not change the store. Never waits.
    fn audit_later(&self, entry: AuditEntry);

    /// A page of the audit log, newest first. The log keeps a limited number of lines of each class.
    fn audit_page<'a>(&'a self, query: &'a AuditQuery) -> StoreFuture<'a, Vec<AuditRecord>>;

    /// Drops some of the lines that are too old at `now`, in seconds since 1970-01-01 UTC, and returns
    /// how many: 0 if none is left. Only for a time that can be trusted, see
    /// [`Clock::is_trusted`](crate::Clock).
    fn expire_audit(&self, now: u64) -> StoreFuture<'_, usize>;
}

/// Who did something: `cli`, `server`, `token:` and the name of an API token, `account:` and the name of an account, or
/// what let a device in, see [`Actor::registrant`]; and from which address, if over the network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    name: Cow<'static, str>,
    address: Option<IpAddr>,
}

impl Actor {
    /// The user of the commands of `fedecks-cloud`, or a program that uses this library.
    pub fn cli() -> Self {
        Self { name: Cow::Borrowed("cli"), address: None }
    }

    /// The server itself.
    pub fn server() -> Self {
        Self { name: Cow::Borrowed("server"), address: None }
    }

    /// The holder of the API token of this name, which is truncated to [`Actor::MAX_NAME`] bytes.
    pub fn token(name: &str) -> Self {
        Self::named("token", name)
    }

    /// Who knows the password of the account of this name, which is truncated to [`Actor::MAX_NAME`]
    /// bytes.
    pub fn account(name: &str) -> Self {
        Self::named("account", name)
    }

    /// Who is called by this text, which is not long.
    pub(crate) fn called(name: String) -> Self {
        Self { name: Cow::Owned(name), address: None }
    }

    /// The same from this address.
    #[must_use]
    pub fn from_address(self, address: IpAddr) -> Self {
        Self { address: Some(address.to_canonical()), ..self }
    }

    /// The longest name that is kept, in bytes.
    pub const MAX_NAME: usize = 512;

    fn named(kind: &str, name: &str) -> Self {
        let name = Cow::Owned(format!("{kind}:{}", truncated(name, Self::MAX_NAME)));
        Self { name, address: None }
    }

    /// As in the audit log, without the address.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The address, if over the network.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// As much of a text as fits into this number of bytes.
fn truncated(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident => $number:literal $word:literal,)+) => {
        /// What a line of the audit log is about. Each class has its own bounds, so that what is frequent
        /// never displaces what is rare.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum AuditClass {
            $($(#[$doc])* $name,)+
        }

        impl AuditClass {
            /// All classes, the rarest first.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// As in the API.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// As in a store. Never changes.
            pub fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)+
                }
            }
        }
    };
}

classes! {
    /// Changes of accounts and API tokens: of who may do what.
    Access => 1 "access",
    /// Changes of devices.
    Devices => 2 "devices",
    /// People who signed in to the dashboard.
    SignIns => 3 "sign-ins",
    /// Devices that logged in with an account or were registered.
    Logins => 4 "logins",
    /// Changes that were refused or failed.
    Refusals => 5 "refusals",
    /// Messages to devices.
    Messages => 6 "messages",
}

impl AuditClass {
    /// All words, for messages.
    pub fn words() -> String {
        Self::ALL.iter().map(|class| class.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The inverse of [`AuditClass::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.as_str() == word)
    }
}

/// How much of one class the audit log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditKept {
    /// The number of lines, each at most [`AuditEntry::MAX_BYTES`].
    pub lines: u32,
    /// How old a line may get.
    pub age: Duration,
}

impl AuditKept {
    /// This many lines, none older than `age`.
    pub fn new(lines: u32, age: Duration) -> Self {
        Self { lines, age }
    }
}

/// How much of each class the audit log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditLimits {
    /// For [`AuditClass::Access`] and, separately, [`AuditClass::Devices`].
    pub changes: AuditKept,
    /// For [`AuditClass::SignIns`] and, separately, [`AuditClass::Logins`].
    pub logins: AuditKept,
    /// For [`AuditClass::Refusals`].
    pub refusals: AuditKept,
    /// For [`AuditClass::Messages`].
    pub messages: AuditKept,
}

impl AuditLimits {
    /// These limits after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The limits of one class.
    pub fn of(&self, class: AuditClass) -> AuditKept {
        match class {
            AuditClass::Access | AuditClass::Devices => self.changes,
            AuditClass::SignIns | AuditClass::Logins => self.logins,
            AuditClass::Refusals => self.refusals,
            AuditClass::Messages => self.messages,
        }
    }
}

impl Default for AuditLimits {
    /// 100,000 changes for two years, 100,000 logins for a year, 10,000 refusals and 100,000 messages for
    /// 90 days.
    fn default() -> Self {
        let kept = |lines, days: u64| AuditKept::new(lines, Duration::from_secs(days * 86_400));
        Self {
            changes: kept(100_000, 730),
            logins: kept(100_000, 365),
            refusals: kept(10_000, 90),
            messages: kept(100_000, 90),
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident => $class:ident $word:literal,)+) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum AuditAction {
            $($(#[$doc])* $name,)+
        }

        impl AuditAction {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// As in the audit log.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// What it is about.
            pub fn class(self) -> AuditClass {
                match self {
                    $(Self::$name => AuditClass::$class,)+
                }
            }
        }
    };
}

actions! {
    /// An account was added.
    AccountAdded => Access "account-added",
    /// The password of an account was changed.
    AccountPasswordChanged => Access "account-password-changed",
    /// An account was removed.
    AccountRemoved => Access "account-removed",
    /// An API token was added.
    TokenAdded => Access "token-added",
    /// An API token was revoked.
    TokenRevoked => Access "token-revoked",
    /// Claims were added.
    ClaimsAdded => Access "claims-added",
    /// A claim was revoked.
    ClaimRevoked => Access "claim-revoked",
    /// The floor of the server's clock was reset to the time that the clock showed.
    ClockAccepted => Access "clock-accepted",
    /// A device was given a label, or its label was removed.
    DeviceLabelled => Devices "device-labelled",
    /// A device was forgotten.
    DeviceForgotten => Devices "device-forgotten",
    /// A device's tokens were revoked.
    DeviceRevoked => Devices "device-revoked",
    /// A device was blocked.
    DeviceBlocked => Devices "device-blocked",
    /// A device was unblocked.
    DeviceUnblocked => Devices "device-unblocked",
    /// A device that waited was approved.
    RegistrationApproved => Devices "registration-approved",
    /// A device that waited was rejected.
    RegistrationRejected => Devices "registration-rejected",
    /// A device was allowed to register again, once.
    ReregistrationAllowed => Devices "reregistration-allowed",
    /// A device presented a certificate with a new key.
    CertificateChanged => Devices "certificate-changed",
    /// A device's connection was closed.
    DeviceDisconnected => Devices "device-disconnected",
    /// Someone signed in to the dashboard.
    SignedIn => SignIns "signed-in",
    /// Someone signed out of the dashboard.
    SignedOut => SignIns "signed-out",
    /// A device logged in with an account.
    LoggedIn => Logins "logged-in",
    /// A device was registered.
    Registered => Logins "registered",
    /// A device that had been registered before was registered again.
    Returned => Logins "returned",
    /// A device was not registered, although its proof was right.
    RegistrationRefused => Refusals "registration-refused",
    /// A change was refused, or failed.
    ChangeRefused => Refusals "change-refused",
    /// A message was sent to a device. Its content is not kept.
    MessageSent => Messages "message-sent",
    /// A kept message to a device was taken back before it was sent.
    MessageCancelled => Messages "message-cancelled",
}

impl AuditAction {
    /// The inverse of [`AuditAction::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }
}

/// A new line for the audit log, see [`AuditStore::audit_later`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct AuditEntry {
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Who.
    pub by: Actor,
    /// What.
    pub action: AuditAction,
    /// To which device, if to one.
    pub device: Option<DeviceId>,
    /// More about it, truncated to 256 bytes. Never a secret or the content of a message.
    pub detail: Option<String>,
}

impl AuditEntry {
    /// The most that a line takes in a store, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// How much of a detail is kept, in bytes.
    const MAX_DETAIL: usize = 256;

    /// The detail as far as it is kept.
    pub fn kept_detail(&self) -> Option<&str> {
        self.detail.as_deref().map(|detail| truncated(detail, Self::MAX_DETAIL))
    }
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct AuditRecord {
    /// Its sequence number; a later line has a higher one.
    pub sequence: u64,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Who, see [`Actor`].
    pub by: String,
    /// From which address, if over the network.
    pub address: Option<IpAddr>,
    /// What.
    pub action: AuditAction,
    /// To which device, if to one.
    pub device: Option<DeviceId>,
    /// More about it: the name of the account or of the API token, the label.
    pub detail: Option<String>,
}

/// Selects lines of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct AuditQuery {
    /// Only lines before the one with this sequence number.
    pub before: Option<u64>,
    /// Only this class.
    pub class: Option<AuditClass>,
    /// Only what was done to this device.
    pub device: Option<DeviceId>,
    /// Only what was done by this actor, as in [`AuditRecord::by`].
    pub by: Option<String>,
    /// The largest number of lines; values above [`AuditQuery::MAX`] count as that.
    pub limit: u32,
}

impl AuditQuery {
    /// The largest number of lines in one answer.
    pub const MAX: u32 = 1000;
}

impl Default for AuditQuery {
    /// The latest 1,000 lines.
    fn default() -> Self {
        Self { before: None, class: None, device: None, by: None, limit: Self::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_parsed_from_its_word() {
        for action in AuditAction::ALL {
            assert_eq!(AuditAction::from_word(action.as_str()), Some(*action));
        }
        assert_eq!(AuditAction::from_word("nonsense"), None);
        for class in AuditClass::ALL {
            assert_eq!(AuditClass::from_word(class.as_str()), Some(*class));
        }
        assert_eq!(
            AuditClass::ALL.iter().map(|class| class.number()).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6]
        );
    }

    #[test]
    fn the_name_of_an_actor_is_truncated() {
        assert_eq!(Actor::token("ci").as_str(), "token:ci");
        assert_eq!(Actor::token(&"ü".repeat(1000)).as_str().len(), 6 + 512);
        assert_eq!(Actor::account(&format!("x{}", "ü".repeat(1000))).as_str().len(), 8 + 511);
    }
}
