//! Secrets of the configuration, and how new ones are generated. Where they are stored is up to
//! `sections/secrets.rs`.

use std::{fmt, io};

use data_encoding::BASE64URL_NOPAD;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::de::{Deserialize, Deserializer, Error};

/// A secret string, which never appears in a log or an error.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// The length of a new secret, in random bytes.
pub(crate) const SECRET_BYTES: usize = 32;

/// The length of a new salt, in random bytes.
pub(crate) const SALT_BYTES: usize = 16;

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// A new one, of random bytes.
    pub(crate) fn generate(length: usize) -> io::Result<Self> {
        let mut bytes = vec![0; length];
        SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(BASE64URL_NOPAD.encode(&bytes)))
    }

    /// The secret itself. Not for logs and errors.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Not derived: serde's own errors show the value.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer);
        text.map(Self).map_err(|_| Error::custom("must be a string in quotes"))
    }
}
