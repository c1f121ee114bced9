//! Hashes and checks passwords, a few at a time.

use std::sync::Arc;
use std::thread::available_parallelism;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::Semaphore;

/// Why a password has no hash.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is shorter or longer than a password is.
    #[error(
        "the password has {0} characters, expected {min} to {max}",
        min = SHORTEST,
        max = LONGEST
    )]
    Length(usize),
    /// The operating system has no random numbers to give.
    #[error("no random numbers for the salt: {0}")]
    Random(#[from] rand::rngs::SysError),
    /// The hash function failed.
    #[error("the password cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// In characters, as Unicode and JSON Schema count them.
const SHORTEST: usize = 8;

/// In characters. Hashing takes longer for longer passwords; nobody has one of this length.
const LONGEST: usize = 1024;

/// The hash to put into the store: Argon2id with 19 MiB and two passes, in the PHC string format.
/// Takes some 20 ms of one processor.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    let length = password.chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(PasswordError::Length(length));
    }
    let mut salt = [0; 16];
    SysRng.try_fill_bytes(&mut salt)?;
    let salt = SaltString::encode_b64(&salt).map_err(PasswordError::Hash)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(PasswordError::Hash)?.to_string())
}

/// Checks passwords without keeping the server's threads from their work: so many at a time, and a
/// bounded line before that.
#[derive(Debug)]
pub(super) struct Passwords {
    /// Those in line and those at work.
    line: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Right,
    Wrong,
    /// Too many are waiting already.
    LineFull,
    /// The hash in the store is none.
    BadHash,
}

/// Of how many devices the passwords may wait, some 20 ms each.
const LINE: usize = 256;

/// What an unknown user's password is compared with, so that the answer takes as long as a known
/// one's. It is the hash of nothing: its last part are 32 made-up bytes.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Passwords {
    /// Uses half of the processors at most: the other half is for the devices that are connected.
    pub(super) fn new() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self::with(LINE, (processors / 2).max(1))
    }

    fn with(line: usize, at_once: usize) -> Self {
        let (line, at_work) = (Semaphore::new(line + at_once), Semaphore::new(at_once));
        Self { line: Arc::new(line), at_work: Arc::new(at_work) }
    }

    /// Whether `password` belongs to `hash`; the same work and [`Checked::Wrong`] without a hash.
    pub(super) async fn check(&self, password: &str, hash: Option<String>) -> Checked {
        let Ok(place) = self.line.clone().try_acquire_owned() else {
            return Checked::LineFull;
        };
        let Ok(turn) = self.at_work.clone().acquire_owned().await else {
            // Nobody closes the semaphore.
            return Checked::LineFull;
        };
        let password = password.as_bytes().to_vec();
        let work = tokio::task::spawn_blocking(move || {
            // With the work, not with who waits for it: a device that hangs up does not make room
            // for one more while its password is still being checked.
            let _held = (place, turn);
            verify(&password, hash.as_deref())
        });
        // The work does not panic; a runtime that ends may drop it.
        work.await.unwrap_or(Checked::LineFull)
    }
}

fn verify(password: &[u8], hash: Option<&str>) -> Checked {
    let known = hash.is_some();
    let Ok(hash) = PasswordHash::new(hash.unwrap_or(NOBODY)) else {
        return Checked::BadHash;
    };
    // One that is longer than any is compared up to there: it is wrong either way.
    let password = &password[..password.len().min(4 * LONGEST + 1)];
    match Argon2::default().verify_password(password, &hash) {
        Ok(()) if known => Checked::Right,
        Ok(()) | Err(argon2::password_hash::Error::Password) => Checked::Wrong,
        Err(_) => Checked::BadHash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_password_is_told_from_a_wrong_one() {
        let passwords = Passwords::new();
        let hash = hash_password("correct horse").unwrap();
        assert_eq!(passwords.check("correct horse", Some(hash.clone())).await, Checked::Right);
        for wrong in ["correct horse ", "", "Correct horse"] {
            assert_eq!(passwords.check(wrong, Some(hash.clone())).await, Checked::Wrong);
        }
        assert_eq!(passwords.check("correct horse", None).await, Checked::Wrong);
        let broken = Some("no hash".to_owned());
        assert_eq!(passwords.check("correct horse", broken).await, Checked::BadHash);
    }

    #[test]
    fn two_hashes_of_a_password_differ() {
        assert_ne!(
            hash_password("correct horse").unwrap(),
            hash_password("correct horse").unwrap()
        );
    }

    #[test]
    fn an_unknown_user_takes_the_same_work_as_a_known_one() {
        let parameters = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            let lengths = (hash.salt.unwrap().len(), hash.hash.unwrap().len());
            (hash.algorithm.to_string(), hash.version, hash.params.to_string(), lengths)
        };
        assert_eq!(parameters(NOBODY), parameters(&hash_password("correct horse").unwrap()));
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

    #[tokio::test]
    async fn more_than_the_line_holds_are_refused_at_once() {
        let passwords = Arc::new(Passwords::with(1, 1));
        let held = passwords.at_work.clone().acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.check("x", None).await })
            })
            .collect();
        while passwords.line.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.check("x", None).await, Checked::LineFull);
        drop(held);
        for check in waiting {
            assert_eq!(check.await.unwrap(), Checked::Wrong);
        }
        assert_eq!(passwords.check("x", None).await, Checked::Wrong);
    }
}
