//! Hashes and checks passwords, a few at a time.

use std::error::Error;
use std::thread::available_parallelism;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};
use rand::TryRng;
use rand::rngs::SysRng;

use super::turns::{Asker, Turns};

/// Why a password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It is too short or too long.
    #[error(
        "the password has {0} characters, expected {min} to {max}",
        min = MIN_CHARS,
        max = MAX_CHARS
    )]
    Length(usize),
    /// The operating system provides no random numbers.
    #[error("no random numbers for the salt: {0}")]
    Random(#[source] Box<dyn Error + Send + Sync>),
    /// The hash function failed.
    #[error("the password cannot be hashed: {0}")]
    Hash(#[source] Box<dyn Error + Send + Sync>),
}

/// In characters, as Unicode and JSON Schema count them.
const MIN_CHARS: usize = 8;

/// In characters. Bounds the time that hashing takes; no real password is this long.
const MAX_CHARS: usize = 1024;

/// Hashes a password for the store: Argon2id with 19 MiB and two passes, in the PHC string format. Takes
/// about 20 ms of one processor.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    let length = password.chars().count();
    if !(MIN_CHARS..=MAX_CHARS).contains(&length) {
        return Err(PasswordError::Length(length));
    }
    let mut salt = [0; 16];
    SysRng.try_fill_bytes(&mut salt).map_err(|error| PasswordError::Random(error.into()))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| PasswordError::Hash(error.into()))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|error| PasswordError::Hash(error.into()))?.to_string())
}

/// Checks passwords on the blocking pool: a limited number at a time, with a bounded queue that is fair
/// between addresses.
#[derive(Debug)]
pub(super) struct PasswordChecker(Turns);

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PasswordCheck {
    Match,
    Mismatch,
    /// Too many checks are queued.
    QueueFull,
    /// The hash cannot be parsed, or takes more than [`MAX_MEMORY_KIB`].
    InvalidHash,
}

/// Maximum number of queued checks, which take about 20 ms each, and up to 8 KiB for the password and the
/// hash. Of those who have logged in to the account before, and again of all others.
const QUEUE: usize = 256;

/// Maximum number of checks at a time, so that they take no more than 152 MiB: our own hashes take 19 MiB.
const MAX_PARALLEL: usize = 8;

/// The most memory that a hash may require, in KiB.
const MAX_MEMORY_KIB: u32 = 64 * 1024;

/// Verified for an unknown account, so that the response takes as long as for a known one. No password has
/// this hash: its last part is 32 zero bytes.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl PasswordChecker {
    /// Uses at most half of the processors; the other half is for connected devices.
    pub(super) fn new() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self(Turns::new((processors / 2).clamp(1, MAX_PARALLEL), QUEUE))
    }

    /// Checks `password` against `hash`. Without a hash it does the same work and returns
    /// [`PasswordCheck::Mismatch`].
    pub(super) async fn check(
        &self,
        asker: Asker,
        password: String,
        hash: Option<String>,
    ) -> PasswordCheck {
        let Some(turn) = self.0.wait(asker).await else { return PasswordCheck::QueueFull };
        let work = tokio::task::spawn_blocking(move || {
            // Held by the check and not by the caller: who stops waiting does not make room for another
            // check while this one is still running.
            let _turn = turn;
            verify(password.as_bytes(), hash.as_deref())
        });
        // It does not panic, but a runtime that shuts down may drop it.
        work.await.unwrap_or(PasswordCheck::QueueFull)
    }
}

fn verify(password: &[u8], hash: Option<&str>) -> PasswordCheck {
    let known = hash.is_some();
    let Ok(hash) = PasswordHash::new(hash.unwrap_or(DUMMY_HASH)) else {
        return PasswordCheck::InvalidHash;
    };
    let memory = Params::try_from(&hash).map(|params| params.m_cost());
    if !memory.is_ok_and(|memory| memory <= MAX_MEMORY_KIB) {
        return PasswordCheck::InvalidHash;
    }
    // A password above the maximum is truncated: it cannot match in either case.
    let password = &password[..password.len().min(4 * MAX_CHARS + 1)];
    match Argon2::default().verify_password(password, &hash) {
        Ok(()) if known => PasswordCheck::Match,
        Ok(()) | Err(argon2::password_hash::Error::Password) => PasswordCheck::Mismatch,
        Err(_) => PasswordCheck::InvalidHash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = PasswordChecker::new();
        let asker = Asker { address: None, known: false };
        let hash = hash_password("correct horse").unwrap();
        let greedy = hash.replace("m=19456", "m=65537");
        assert_ne!(hash, hash_password("correct horse").unwrap(), "they have different salts");
        for (password, hash, result) in [
            ("correct horse", Some(&*hash), PasswordCheck::Match),
            ("correct horse ", Some(&*hash), PasswordCheck::Mismatch),
            ("", Some(&*hash), PasswordCheck::Mismatch),
            ("Correct horse", Some(&*hash), PasswordCheck::Mismatch),
            ("correct horse", None, PasswordCheck::Mismatch),
            ("correct horse", Some("no hash"), PasswordCheck::InvalidHash),
            ("correct horse", Some(&greedy), PasswordCheck::InvalidHash),
        ] {
            let checked =
                passwords.check(asker, password.to_owned(), hash.map(str::to_owned)).await;
            assert_eq!(checked, result, "{password:?} {hash:?}");
        }
    }

    #[test]
    fn an_unknown_account_takes_the_same_work_as_a_known_one() {
        let parameters = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            let lengths = (hash.salt.unwrap().len(), hash.hash.unwrap().len());
            (hash.algorithm.to_string(), hash.version, hash.params.to_string(), lengths)
        };
        assert_eq!(parameters(DUMMY_HASH), parameters(&hash_password("correct horse").unwrap()));
    }

    #[test]
    fn a_password_has_8_to_1024_characters() {
        for character in ["x", "ß", "🚪"] {
            for length in [0, 7, 1025] {
                let error = hash_password(&character.repeat(length)).unwrap_err();
                assert!(matches!(error, PasswordError::Length(found) if found == length));
            }
            for length in [8, 1024] {
                assert!(hash_password(&character.repeat(length)).is_ok());
            }
        }
    }
}
