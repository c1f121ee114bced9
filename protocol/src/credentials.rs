//! The credentials of a login, and the keys that the protocol reserves in them.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::term::{Term, TermError};

/// Key of the device id in the authentication header's map.
pub const DEVICE_ID_KEY: &str = "fedecks-device-id";

/// Key of the token in the authentication header's map.
pub const TOKEN_KEY: &str = "fedecks-token";

/// Key of a claim among the credentials: a text that begins with [`CLAIM_PREFIX`].
pub const CLAIM_KEY: &str = "claim";

/// How every claim begins.
pub const CLAIM_PREFIX: &str = "fdc_";

/// Key of the registration nonce among the credentials: 32 hexadecimal digits, the same each time that a device
/// repeats a login, also after a restart.
pub const NONCE_KEY: &str = "nonce";

/// What a device authenticates with until it has a token: named values as the cloud's handler
/// expects them, a user name and a password for example. `Debug` shows only the names.
///
/// ```
/// # use fedecks_protocol as fedecks_device;
/// use fedecks_device::Credentials;
///
/// let credentials = Credentials::new().with("username", "marvin").with("password", "42");
/// assert_eq!(credentials.text("username"), Some("marvin"));
/// ```
#[derive(Clone, PartialEq, Default)]
pub struct Credentials(Vec<(String, Term)>);

/// Why a value cannot be used as [`Credentials`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The value is not a map with text keys.
    #[error("credentials must be a map with text keys, not {0}")]
    NotAMap(&'static str),
    /// The protocol reserves this key.
    #[error("the key {0:?} is reserved by the protocol")]
    Reserved(String),
    /// A key occurs more than once.
    #[error("duplicate key {0:?}")]
    Duplicate(String),
    /// The value cannot be converted to a term.
    #[error(transparent)]
    Term(#[from] TermError),
}

impl Credentials {
    /// Empty credentials; add values with [`Credentials::with`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value, or replaces the one under the same key.
    ///
    /// The keys `fedecks-device-id` and `fedecks-token` are reserved by the protocol: a value under
    /// one of them is not sent.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Term>) -> Self {
        let key = key.into();
        self.0.retain(|(known, _)| *known != key);
        self.0.push((key, value.into()));
        self
    }

    /// Converts any serializable struct or map with text keys.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, CredentialsError> {
        Self::from_term(Term::from_serialize(value)?)
    }

    /// Converts a [`Term::Map`] with text keys, none of them reserved.
    pub fn from_term(term: Term) -> Result<Self, CredentialsError> {
        let Term::Map(entries) = term else {
            return Err(CredentialsError::NotAMap(term.kind()));
        };
        let mut credentials = Self::new();
        for (key, value) in entries {
            let Term::Str(key) = key else {
                return Err(CredentialsError::NotAMap("a map with another kind of key"));
            };
            if key == DEVICE_ID_KEY || key == TOKEN_KEY {
                return Err(CredentialsError::Reserved(key));
            }
            if credentials.get(&key).is_some() {
                return Err(CredentialsError::Duplicate(key));
            }
            credentials.0.push((key, value));
        }
        Ok(credentials)
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Term> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The value under `key` if it is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Term::as_str)
    }

    /// All values with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Term)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Deserializes the credentials into any type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, TermError> {
        let entries = self.0.iter().map(|(key, value)| (Term::from(key.as_str()), value.clone()));
        Term::Map(entries.collect()).parse()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (key, _) in &self.0 {
            map.entry(key, &format_args!("…"));
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;

    #[test]
    fn debug_does_not_show_a_secret() {
        let token = Token::new("v4.local.abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        let credentials = Credentials::new().with("username", "marvin").with("password", "42");
        assert_eq!(format!("{credentials:?}"), r#"{"username": …, "password": …}"#);
    }

    #[test]
    fn credentials_convert_from_a_struct_and_back() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct Login {
            username: String,
            pin: u32,
        }
        let login = Login { username: "marvin".into(), pin: 42 };
        let credentials = Credentials::from_serialize(&login).unwrap();
        assert_eq!(credentials.text("username"), Some("marvin"));
        assert_eq!(credentials.parse::<Login>().unwrap(), login);
    }

    #[test]
    fn credentials_refuse_other_types_and_reserved_keys() {
        assert_eq!(Credentials::from_serialize(&7), Err(CredentialsError::NotAMap("an integer")));
        let reserved = std::collections::BTreeMap::from([("fedecks-token", "x")]);
        assert_eq!(
            Credentials::from_serialize(&reserved),
            Err(CredentialsError::Reserved("fedecks-token".into()))
        );
    }
}
