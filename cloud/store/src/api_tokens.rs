//! The tokens of clients of the HTTP API, their roles, and their trait. Checking a presented token is up to
//! the server.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};

use crate::audit::Actor;
use crate::boxed::StoreFuture;
use crate::device_pattern::DevicePattern;

/// Stores API tokens. Follows the [contract](crate#contract) of every store; adding and revoking are
/// audited.
pub trait ApiTokenStore: Send + Sync + 'static {
    /// Adds an API token. Fails with [`StoreError::Exists`](crate::StoreError::Exists) if the name is
    /// taken, and with [`StoreError::TooMany`](crate::StoreError::TooMany) if there are
    /// [`ApiToken::MAX`].
    fn add_api_token<'a>(&'a self, token: &'a NewApiToken, by: &'a Actor) -> StoreFuture<'a, ()>;

    /// All API tokens, ordered by name.
    fn api_tokens(&self) -> StoreFuture<'_, Vec<ApiToken>>;

    /// Removes an API token. Returns false if there is none of that name.
    fn revoke_api_token<'a>(&'a self, name: &'a str, by: &'a Actor) -> StoreFuture<'a, bool>;

    /// Notes that an API token was used `at` (seconds since 1970-01-01 UTC). Never waits.
    fn api_token_used(&self, name: &str, at: u64);
}

/// What an API token allows. No role includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// To see devices, connections and events.
    Read,
    /// To send messages to devices.
    Send,
    /// To change labels, blocks, revocations and accounts.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: &[Self] = &[Self::Read, Self::Send, Self::Admin];

    /// `read`, `send` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Admin => "admin",
        }
    }
}

/// A text that is not a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of the roles read, send and admin")]
#[non_exhaustive]
pub struct InvalidRole;

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|role| role.as_str() == text).ok_or(InvalidRole)
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// Whether the role is in the set.
    pub fn contains(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    /// The set with one more role.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | Self::bit(role))
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.iter().copied().filter(move |role| self.contains(*role))
    }

    fn bit(role: Role) -> u8 {
        match role {
            Role::Read => 1,
            Role::Send => 2,
            Role::Admin => 4,
        }
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::default(), Self::with)
    }
}

/// The roles separated by spaces, as [`Roles::from_str`] reads them.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Role::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromStr for Roles {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_ascii_whitespace().map(Role::from_str).collect()
    }
}

/// An API token as the store keeps it: without the secret.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct ApiToken {
    /// The name for people.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it allows.
    pub roles: Roles,
    /// The devices that it is limited to; `None` if it is not.
    pub devices: Option<DevicePattern>,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
    /// When it expires, in seconds since 1970-01-01 UTC; `None` if it never does.
    pub expires_at: Option<u64>,
    /// When it was used last, in seconds since 1970-01-01 UTC; `None` if never.
    pub last_used: Option<u64>,
}

impl ApiToken {
    /// The largest number of API tokens.
    pub const MAX: u32 = 1000;
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiToken")
            .field("name", &self.name)
            .field("roles", &self.roles)
            .field("devices", &self.devices)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// An API token to add.
#[derive(Debug, Clone)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store reads it, and one that ignores a new field must not compile"
)]
pub struct NewApiToken {
    /// The name for people, see [`check_token_name`].
    pub name: String,
    /// The secret. The store keeps its hash.
    pub secret: ApiSecret,
    /// What it allows.
    pub roles: Roles,
    /// The devices that it is limited to; `None` if it is not.
    pub devices: Option<DevicePattern>,
    /// When it expires, in seconds since 1970-01-01 UTC; `None` if it never does.
    pub expires_at: Option<u64>,
}

impl NewApiToken {
    /// What the audit log says about it.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn summary(&self) -> String {
        let Self { name, roles, devices, .. } = self;
        match devices.as_ref().map(DevicePattern::as_str) {
            None => format!("{name}: {roles}"),
            Some(devices) => format!("{name}: {roles}, devices {devices}"),
        }
    }
}

/// The secret that authenticates a client of the API: `fdk_` and 32 random bytes in base64url (43
/// characters). `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiSecret(String);

impl ApiSecret {
    /// A new random secret.
    pub fn generate() -> Self {
        let random: [u8; 32] = rand::random();
        Self(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&random)))
    }

    /// The secret itself. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The SHA-256 of a presented secret. A slow hash is unnecessary for 32 random bytes.
    pub fn hash_of(presented: &str) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, presented.as_bytes()).as_ref());
        hash
    }
}

/// The prefix of every secret, by which scanners find leaked ones.
const PREFIX: &str = "fdk_";

impl fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiSecret(…)")
    }
}

/// A text that cannot be the name of an API token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an API token's name has 1 to {max} letters, digits, '-', '_' and '.'", max = MAX_NAME)]
#[non_exhaustive]
pub struct InvalidTokenName;

const MAX_NAME: usize = 64;

/// Checks the name of an API token.
pub fn check_token_name(name: &str) -> Result<(), InvalidTokenName> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(InvalidTokenName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_a_set_without_order() {
        let roles: Roles = "send read send".parse().unwrap();
        assert_eq!(roles.to_string(), "read send");
        assert!(roles.contains(Role::Read) && roles.contains(Role::Send));
        assert!(!roles.contains(Role::Admin), "no role includes another");
        assert!("".parse::<Roles>().unwrap().is_empty());
        assert_eq!("reader".parse::<Roles>(), Err(InvalidRole));
        assert!(!Roles::default().with(Role::Admin).contains(Role::Read));
    }

    #[test]
    fn a_secret_is_random_not_shown_and_hashed_by_sha_256() {
        let secret = ApiSecret::generate();
        assert_ne!(secret, ApiSecret::generate());
        assert_eq!(secret.expose().len(), 47);
        assert!(secret.expose().starts_with("fdk_"));
        assert_eq!(format!("{secret:?}"), "ApiSecret(…)");
        // `printf fdk_x | sha256sum`
        let hash = data_encoding::HEXLOWER.encode(&ApiSecret::hash_of("fdk_x"));
        assert_eq!(hash, "d529543aa66f3cd223b5d0d7603593913646e11fbe4b1dedc9d90fa6f0379d35");
    }

    #[test]
    fn a_token_name_needs_no_quoting() {
        for name in ["ci", "grafana.prod_2", &"x".repeat(64)] {
            assert_eq!(check_token_name(name), Ok(()), "{name:?}");
        }
        for name in ["", "a b", "a:b", "ü", "a\n", &"x".repeat(65)] {
            assert_eq!(check_token_name(name), Err(InvalidTokenName), "{name:?}");
        }
    }
}
