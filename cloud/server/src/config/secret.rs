//! Secrets of the configuration, and how new ones are made.

use std::{fmt, io};

use data_encoding::BASE64URL_NOPAD;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A text that is in no log and no error.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// A new secret: 256 random bits.
pub(crate) fn generate() -> io::Result<Secret> {
    random::<32>()
}

/// A new salt: 128 random bits.
pub(crate) fn generate_salt() -> io::Result<Secret> {
    random::<16>()
}

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret itself, for whom it is made.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

fn random<const BYTES: usize>() -> io::Result<Secret> {
    let mut bytes = [0; BYTES];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(Secret(BASE64URL_NOPAD.encode(&bytes)))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Written out, since serde's own errors show the value that they don't like.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom("expected a text in quotes"))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("expected a text in quotes"))
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
                Err(E::custom("expected a text in quotes"))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom("expected a text in quotes"))
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
                Err(E::custom("expected a text in quotes"))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom("expected a text in quotes"))
            }
        }

        deserializer.deserialize_any(Text)
    }
}
