//! The audit log: who did what, and its trait.

use std::borrow::Cow;
use std::fmt;

use fedecks_protocol::DeviceId;

use crate::boxed::StoreFuture;

/// Stores the audit log. Follows the [contract](crate#contract) of every store.
pub trait AuditStore: Send + Sync + 'static {
    /// Adds a line about something that does not change the store. Never waits.
    fn audit_later(&self, entry: AuditEntry);

    /// A page of the audit log, newest first. The log keeps a limited number of lines.
    fn audit_page<'a>(&'a self, query: &'a AuditQuery) -> StoreFuture<'a, Vec<AuditRecord>>;
}

/// Who changed something: `cli`, `server`, or `token:` and the name of an API token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor(Cow<'static, str>);

impl Actor {
    /// The user of the commands of `fedecks-cloud`, or a program that uses this library.
    pub fn cli() -> Self {
        Self(Cow::Borrowed("cli"))
    }

    /// The server itself.
    pub fn server() -> Self {
        Self(Cow::Borrowed("server"))
    }

    /// The holder of the API token of this name, which is truncated to 128 characters.
    pub fn token(name: &str) -> Self {
        let end = name.char_indices().nth(128).map_or(name.len(), |(index, _)| index);
        Self(Cow::Owned(format!("token:{}", &name[..end])))
    }

    /// As in the audit log.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)+) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
        }
    };
}

actions! {
    /// An account was added.
    AccountAdded => "account-added",
    /// An account was removed.
    AccountRemoved => "account-removed",
    /// A device was given a label, or its label was removed.
    DeviceLabelled => "device-labelled",
    /// A device was forgotten.
    DeviceForgotten => "device-forgotten",
    /// A device's tokens were revoked.
    DeviceRevoked => "device-revoked",
    /// A device was blocked.
    DeviceBlocked => "device-blocked",
    /// A device was unblocked.
    DeviceUnblocked => "device-unblocked",
    /// A device's connection was closed.
    DeviceDisconnected => "device-disconnected",
    /// A message was sent to a device. Its content is not kept.
    MessageSent => "message-sent",
    /// An API token was added.
    TokenAdded => "token-added",
    /// An API token was revoked.
    TokenRevoked => "token-revoked",
    /// The floor of the server's clock was reset to the time that the clock showed.
    ClockAccepted => "clock-accepted",
}

impl AuditAction {
    /// The inverse of [`AuditAction::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }
}

/// A new line for the audit log, see [`AuditStore::audit_later`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Who.
    pub by: Actor,
    /// What.
    pub action: AuditAction,
    /// To which device, if to one.
    pub device: Option<DeviceId>,
    /// More about it, truncated to 256 characters. Never a secret or the content of a message.
    pub detail: Option<String>,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its sequence number; a later line has a higher one.
    pub sequence: u64,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Who, see [`Actor`].
    pub by: String,
    /// What.
    pub action: AuditAction,
    /// To which device, if to one.
    pub device: Option<DeviceId>,
    /// More about it: the name of the account or of the API token, the label.
    pub detail: Option<String>,
}

/// Selects lines of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only lines before the one with this sequence number.
    pub before: Option<u64>,
    /// Only what was done to this device.
    pub device: Option<DeviceId>,
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
        Self { before: None, device: None, limit: Self::MAX }
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
    }

    #[test]
    fn the_name_of_an_actor_is_truncated() {
        assert_eq!(Actor::token("ci").as_str(), "token:ci");
        assert_eq!(Actor::token(&"ü".repeat(1000)).as_str().chars().count(), 6 + 128);
    }
}
