//! Who did what, and the log of it.

use std::borrow::Cow;
use std::fmt;

use fedecks_protocol::DeviceId;

use crate::boxed::BoxFuture;
use crate::error::StoreError;

/// Keeps the audit log by the [contract](crate#contract) of every store.
pub trait AuditStore: Send + Sync + 'static {
    /// Adds a line to the audit log for what is no change of the store. Never waits.
    fn audit_later(&self, entry: AuditEntry);

    /// Some lines of the audit log, newest first. It keeps a bounded number of them.
    fn audit_page<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<Vec<AuditRecord>, StoreError>>;
}

/// Who changed something: `cli`, `server`, or `token:` and the name of an API token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor(Cow<'static, str>);

impl Actor {
    /// Whoever runs the commands of `fedecks-cloud`, or a program that uses this library.
    pub fn cli() -> Self {
        Self(Cow::Borrowed("cli"))
    }

    /// The server by itself.
    pub fn server() -> Self {
        Self(Cow::Borrowed("server"))
    }

    /// Whoever holds the API token of this name. More than 128 characters of it are cut off.
    pub fn token(name: &str) -> Self {
        let end = name.char_indices().nth(128).map_or(name.len(), |(index, _)| index);
        Self(Cow::Owned(format!("token:{}", &name[..end])))
    }

    /// As it stands in the audit log.
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
        /// What somebody did.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AuditAction {
            $($(#[$doc])* $name,)+
        }

        impl AuditAction {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// As it stands in the audit log.
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
    /// A device was given a label, or its label was taken away.
    DeviceLabelled => "device-labelled",
    /// A device was forgotten.
    DeviceForgotten => "device-forgotten",
    /// A device's tokens were made worthless.
    DeviceRevoked => "device-revoked",
    /// A device was blocked.
    DeviceBlocked => "device-blocked",
    /// A device was unblocked.
    DeviceUnblocked => "device-unblocked",
    /// A device's connection was closed.
    DeviceDisconnected => "device-disconnected",
    /// A message was sent to a device. What it said is not kept.
    MessageSent => "message-sent",
    /// An API token was added.
    TokenAdded => "token-added",
    /// An API token was revoked.
    TokenRevoked => "token-revoked",
}

impl AuditAction {
    /// The action that a word of [`AuditAction::as_str`] stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }
}

/// Something for the audit log that is no change of the store, see [`AuditStore::audit_later`].
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
    /// What else there is to say, of which 256 characters are kept. No secret, and nothing of a
    /// message.
    pub detail: Option<String>,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its place in the log; a later line has a higher one.
    pub sequence: u64,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Who, see [`Actor`].
    pub by: String,
    /// What.
    pub action: AuditAction,
    /// To which device, if to one.
    pub device: Option<DeviceId>,
    /// What else there is to say: the name of the account or of the API token, the label.
    pub detail: Option<String>,
}

/// Which part of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only lines before the one at this place.
    pub before: Option<u64>,
    /// Only what was done to this device.
    pub device: Option<DeviceId>,
    /// At most so many; 1,000 at most, whatever stands here.
    pub limit: u32,
}

impl AuditQuery {
    /// How many lines there are at most in one answer.
    pub const MOST: u32 = 1000;
}

impl Default for AuditQuery {
    /// The latest 1,000 lines.
    fn default() -> Self {
        Self { before: None, device: None, limit: Self::MOST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_by_its_word() {
        for action in AuditAction::ALL {
            assert_eq!(AuditAction::from_word(action.as_str()), Some(*action));
        }
        assert_eq!(AuditAction::from_word("nonsense"), None);
    }

    #[test]
    fn an_actors_name_has_a_bound() {
        assert_eq!(Actor::token("ci").as_str(), "token:ci");
        assert_eq!(Actor::token(&"ü".repeat(1000)).as_str().chars().count(), 6 + 128);
    }
}
