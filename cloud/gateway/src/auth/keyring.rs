//! The keys that seal and open device tokens, and the claims of a token.

use std::fmt;

use fedecks_protocol::{DeviceId, IssuedToken, Token};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

use crate::auth::paseto::{LocalKey, Sealed};

/// The keys that seal and open device tokens: one seals, all open.
///
/// A token is a PASETO `v4.local`: its content is encrypted and authenticated, so a device can neither
/// read nor change it. Its footer contains the key's id in the clear, which is derived from the key and
/// reveals nothing about it.
///
/// A key is derived from a secret and a salt by HKDF-SHA256 (RFC 5869). HKDF does no key stretching: the
/// secret has to be random, as `fedecks-cloud secret generate` creates it, and not a password. Two clouds
/// with the same secret and salt accept each other's tokens.
///
/// ```
/// use fedecks_cloud::Keyring;
///
/// # fn example(secret: &str, salt: &str, old_secret: &str) -> Result<(), Box<dyn std::error::Error>> {
/// // Tokens that were sealed with last year's secret are still accepted, and replaced.
/// let keyring = Keyring::new(secret, salt)?.with_previous_key(old_secret, salt)?;
/// # drop(keyring);
/// assert!(Keyring::new("a password", salt).is_err(), "the secret is too short");
/// # Ok(()) }
/// # example(&"2026".repeat(8), "01234567", &"2025".repeat(8)).unwrap();
/// ```
#[derive(Clone)]
pub struct Keyring {
    sealing: Key,
    previous: Vec<Key>,
}

/// The content of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a token says these four; another claim makes another kind of token"
)]
pub struct Claims {
    /// The device that the token was issued to. No other device may use it.
    pub device: DeviceId,
    /// When it was issued, in seconds since 1970-01-01 UTC.
    pub issued_at: u64,
    /// When it expires, in seconds since 1970-01-01 UTC.
    pub expires_at: u64,
    /// The generation of the device's tokens when it was issued.
    pub generation: u64,
}

/// Why no key can be derived from a secret and a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The secret is too short to be random.
    #[error(
        "the secret has {chars} characters, expected at least {min} random ones \
         (`fedecks-cloud secret generate` creates them)",
        min = Keyring::MIN_SECRET_CHARS
    )]
    ShortSecret {
        /// Its length.
        chars: usize,
    },
    /// The salt is too short to distinguish installations.
    #[error("the salt has {chars} characters, expected at least {min}", min = Keyring::MIN_SALT_CHARS)]
    ShortSalt {
        /// Its length.
        chars: usize,
    },
}

/// Why a token cannot be opened. Devices get `token-invalid` in each case; the difference is for the
/// cloud's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is not a PASETO `v4.local`, or its content has another form.
    #[error("the token is malformed")]
    Malformed,
    /// It was sealed by a key that is not on the keyring.
    #[error("the token was sealed by a key that is not on the keyring")]
    UnknownKey,
    /// It names a key on the keyring but was not sealed by it, or was changed since.
    #[error("the token was not sealed by the key that it names")]
    Forged,
}

impl Keyring {
    /// Minimum length of the secret, in characters.
    pub const MIN_SECRET_CHARS: usize = 32;

    /// Minimum length of the salt, in characters.
    pub const MIN_SALT_CHARS: usize = 8;

    /// A keyring with one key, which seals and opens tokens.
    pub fn new(secret: &str, salt: &str) -> Result<Self, KeyringError> {
        Ok(Self { sealing: Key::derive(secret, salt)?, previous: Vec::new() })
    }

    /// Adds a key that opens tokens but does not seal them: the previous secret and salt while the fleet's
    /// tokens are renewed, or the next ones before the servers of a cluster switch to them.
    pub fn with_previous_key(mut self, secret: &str, salt: &str) -> Result<Self, KeyringError> {
        self.previous.push(Key::derive(secret, salt)?);
        Ok(self)
    }

    /// A secret for [`Tls::with_ticket_secret`](crate::serve::Tls::with_ticket_secret), derived from the
    /// secret and the salt that also seal tokens. It reveals nothing about these.
    #[cfg(feature = "serve")]
    pub fn ticket_secret(&self) -> [u8; 32] {
        self.sealing.tickets
    }

    /// Seals a token for the device in `claims`.
    ///
    /// # Panics
    ///
    /// If the operating system provides no random numbers.
    #[expect(clippy::expect_used, reason = "see the two messages; no input causes either")]
    pub fn seal(&self, claims: &Claims) -> IssuedToken {
        let Claims { device, issued_at, expires_at, generation } = claims;
        let content = format!("{VERSION} {issued_at} {expires_at} {generation} {device}");
        let mut nonce = [0; 32];
        SystemRandom::new().fill(&mut nonce).expect("the operating system has random numbers");
        let Key { id, key, .. } = &self.sealing;
        let sealed = key.seal(&content, &nonce, id, NO_ASSERTION);
        let token = Token::new(sealed).expect(
            "a device id has at most 128 characters, so the token has less than 400, all of them base64",
        );
        IssuedToken { token, expires_at: *expires_at }
    }

    /// Opens a token. The caller has to check whether it has expired, was revoked, or belongs to another
    /// device.
    pub fn open(&self, token: &Token) -> Result<Claims, TokenError> {
        let sealed = Sealed::parse(token.expose()).ok_or(TokenError::Malformed)?;
        let Key { key, .. } = std::iter::once(&self.sealing)
            .chain(&self.previous)
            .find(|key| key.id.as_slice() == sealed.footer())
            .ok_or(TokenError::UnknownKey)?;
        let opened = key.open(sealed, NO_ASSERTION).ok_or(TokenError::Forged)?;
        Claims::parse(&opened).ok_or(TokenError::Malformed)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

/// Version of the content's format, its first word. The format is
/// `1 <issued at> <expires at> <generation> <device id>`.
const VERSION: &str = "1";

/// Tokens have no implicit assertion.
const NO_ASSERTION: &[u8] = b"";

impl Claims {
    fn parse(content: &str) -> Option<Self> {
        let mut rest = Some(content);
        let mut word = || {
            let text = rest.take()?;
            // Faster than to search for a character, as the words are short.
            match text.bytes().position(|byte| byte == b' ') {
                Some(end) => {
                    rest = text.get(end + 1..);
                    text.get(..end)
                }
                None => Some(text),
            }
        };
        let number = |text: &str| text.parse::<u64>().ok();
        if word()? != VERSION {
            return None;
        }
        let claims = Self {
            issued_at: number(word()?)?,
            expires_at: number(word()?)?,
            generation: number(word()?)?,
            device: DeviceId::new(word()?).ok()?,
        };
        word().is_none().then_some(claims)
    }
}

#[derive(Clone)]
struct Key {
    /// Identifies the key in a token's footer.
    id: [u8; 8],
    key: LocalKey,
    /// What the keys of TLS session tickets are derived from.
    #[cfg(feature = "serve")]
    tickets: [u8; 32],
}

impl Key {
    #[expect(clippy::expect_used, reason = "the lengths are constants")]
    fn derive(secret: &str, salt: &str) -> Result<Self, KeyringError> {
        let chars = secret.chars().count();
        if chars < Keyring::MIN_SECRET_CHARS {
            return Err(KeyringError::ShortSecret { chars });
        }
        let chars = salt.chars().count();
        if chars < Keyring::MIN_SALT_CHARS {
            return Err(KeyringError::ShortSalt { chars });
        }
        let extracted =
            hkdf::Salt::new(hkdf::HKDF_SHA256, salt.as_bytes()).extract(secret.as_bytes());
        let expand = |purpose: &[u8]| {
            let mut bytes = [0; 32];
            extracted
                .expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|derived| derived.fill(&mut bytes))
                .expect("HKDF-SHA256 can derive 32 bytes");
            bytes
        };
        let mut id = [0; 8];
        id.copy_from_slice(&expand(b"fedecks token key id v1")[..8]);
        Ok(Self {
            id,
            key: LocalKey::new(&expand(b"fedecks token key v1")),
            #[cfg(feature = "serve")]
            tickets: expand(b"fedecks tls ticket secret v1"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";
    const SALT: &str = "the salt";

    fn keyring() -> Keyring {
        Keyring::new(SECRET, SALT).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            device: DeviceId::new("nerves-242a").unwrap(),
            issued_at: 1_800_000_000,
            expires_at: 1_802_419_200,
            generation: 3,
        }
    }

    #[test]
    fn only_the_same_secret_and_salt_open_a_token() {
        let issued = keyring().seal(&claims());
        assert_eq!(issued.expires_at, 1_802_419_200);
        assert!(issued.token.expose().starts_with("v4.local."));
        for (secret, salt, opened) in [
            (SECRET, SALT, Ok(claims())),
            (OTHER, SALT, Err(TokenError::UnknownKey)),
            (SECRET, "another salt", Err(TokenError::UnknownKey)),
        ] {
            assert_eq!(Keyring::new(secret, salt).unwrap().open(&issued.token), opened);
        }
    }

    #[test]
    fn a_token_changed_at_any_position_does_not_open() {
        let keyring = keyring();
        let token = keyring.seal(&claims()).token;
        let footer = token.expose().rfind('.').unwrap();
        for position in 0..token.expose().len() {
            for replacement in *b"Aa0_." {
                let mut text = token.expose().as_bytes().to_vec();
                if text[position] == replacement {
                    continue;
                }
                text[position] = replacement;
                let forged = Token::new(String::from_utf8(text).unwrap()).unwrap();
                let error = keyring.open(&forged).expect_err("a forged token must not open");
                if position > footer && replacement != b'.' {
                    let known = matches!(error, TokenError::UnknownKey | TokenError::Malformed);
                    assert!(known, "footer, position {position}: {error:?}");
                }
            }
        }
    }

    #[test]
    fn a_token_cut_short_or_made_up_does_not_open() {
        let keyring = keyring();
        let token = keyring.seal(&claims()).token;
        for length in 1..token.expose().len() {
            assert!(keyring.open(&Token::new(&token.expose()[..length]).unwrap()).is_err());
        }
        let made_up = ["x", "v4.local.", "v4.local.AAAA", "v4.public.AAAA", "v2.local.AAAA.AAAA"];
        let content = ["2 1 2 3 dev", "1 1 2 dev", "1 1 2 3 dev more", "1 -1 2 3 dev", "1 1 2 3 "];
        let Key { id, key, .. } = &keyring.sealing;
        let seal = |content: &str| key.seal(content, &[1; 32], id, NO_ASSERTION);
        for text in made_up.map(String::from).into_iter().chain(content.map(seal)) {
            let opened = keyring.open(&Token::new(&*text).unwrap());
            assert_eq!(opened, Err(TokenError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_previous_key_opens_while_the_new_one_seals() {
        let before = keyring();
        let after = Keyring::new(OTHER, SALT).unwrap().with_previous_key(SECRET, SALT).unwrap();
        assert_eq!(format!("{after:?}"), "Keyring(…)");
        assert_eq!(after.open(&before.seal(&claims()).token), Ok(claims()));
        let renewed = after.seal(&claims()).token;
        assert_eq!(after.open(&renewed), Ok(claims()));
        assert_eq!(before.open(&renewed), Err(TokenError::UnknownKey));
    }

    #[test]
    fn a_token_for_the_longest_device_id_is_short() {
        let keyring = keyring();
        let device = DeviceId::new("x".repeat(DeviceId::MAX_CHARS)).unwrap();
        let (issued_at, expires_at, generation) = (u64::MAX, u64::MAX, u64::MAX);
        let longest = Claims { device, issued_at, expires_at, generation };
        let token = keyring.seal(&longest).token;
        assert!(token.expose().len() < 400, "{} characters", token.expose().len());
        assert_eq!(keyring.open(&token), Ok(longest));
    }

    #[test]
    fn a_short_secret_or_salt_is_refused() {
        let error = |secret, salt| Keyring::new(secret, salt).unwrap_err();
        assert_eq!(error(&SECRET[1..], SALT), KeyringError::ShortSecret { chars: 31 });
        assert_eq!(error(SECRET, "salt"), KeyringError::ShortSalt { chars: 4 });
    }

    /// HKDF-SHA256 and PASETO have their own tests; this one pins our use of them. If it changed, every
    /// fleet would lose its tokens with an update of the cloud.
    #[test]
    fn a_token_of_an_earlier_version_still_opens() {
        let token = Token::new(concat!(
            "v4.local.RphwP-me3-coGUelNKh8HabUepKWpCXByvgTH8c0G1CmEoSURG8tIW0VwF3zVten1qvC8lVg",
            "xXJajlPzuUBvuVURztNbVUbrXx8swhDeOAJGsvIfTlXHjCGJugf3L31cKIf7LOg.EzR7CuCoKJA",
        ))
        .unwrap();
        assert_eq!(keyring().open(&token), Ok(claims()));
    }
}
