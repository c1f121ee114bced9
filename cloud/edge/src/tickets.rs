//! TLS session tickets under keys that follow from a secret and the time, so that they outlive the process.

use std::fmt;
use std::time::{Duration, SystemTime};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

/// How long a key encrypts tickets. They are good for another such period.
const PERIOD: Duration = Duration::from_secs(12 * 60 * 60);

/// The period in front of a ticket, in bytes.
const NUMBER_LEN: usize = 8;

/// Encrypts and decrypts tickets: `period (8 bytes) ‖ nonce ‖ session, encrypted ‖ tag`.
///
/// Every server with the same secret takes them, after a restart too. A key is derived for each period, by
/// HKDF-SHA256, and encrypts with ChaCha20-Poly1305 and random nonces, of which it could use 2³² at a
/// negligible risk. TLS 1.3 still agrees on a new secret with each resumption: who learns the keys later
/// cannot decrypt what was recorded.
pub(crate) struct Tickets {
    derive: hkdf::Prk,
    random: SystemRandom,
    now: fn() -> SystemTime,
}

/// What is known of the client in the session of a ticket. None is taken for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It was not asked for a certificate.
    Anonymous,
    /// It may have presented one.
    Optional,
    /// It has presented one.
    Required,
}

impl Tickets {
    pub(crate) fn new(secret: &[u8; 32], purpose: Purpose) -> Self {
        let salt: &[u8] = match purpose {
            Purpose::Anonymous => b"fedecks-edge tls tickets v1",
            Purpose::Optional => b"fedecks-edge tls tickets v1, client certificate optional",
            Purpose::Required => b"fedecks-edge tls tickets v1, client certificate required",
        };
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, salt);
        Self { derive: salt.extract(secret), random: SystemRandom::new(), now: SystemTime::now }
    }

    /// The current period. With a clock before 1970 it is the first one.
    fn period(&self) -> u64 {
        let since = (self.now)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs() / PERIOD.as_secs()
    }

    fn key(&self, number: [u8; NUMBER_LEN]) -> Option<LessSafeKey> {
        let info = [number.as_slice()];
        let key = self.derive.expand(&info, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // Those from the end of a period are good for just that long.
        u32::try_from(PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let number = self.period().to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut encrypted = session.to_vec();
        self.key(number)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(number),
                &mut encrypted,
            )
            .ok()?;
        Some([&number, nonce.as_slice(), &encrypted].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_first_chunk::<NUMBER_LEN>()?;
        let (nonce, encrypted) = rest.split_first_chunk::<NONCE_LEN>()?;
        let age = self.period().checked_sub(u64::from_be_bytes(*number))?;
        if age > 1 {
            return None;
        }
        let mut session = encrypted.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key(*number)?.open_in_place(nonce, Aad::from(*number), &mut session);
        let length = opened.ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secret: [u8; 32], now: fn() -> SystemTime) -> Tickets {
        Tickets { now, ..Tickets::new(&secret, Purpose::Anonymous) }
    }

    /// Hours after the beginning of a period.
    fn hours(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((490_008 + hours) * 3_600)
    }

    #[test]
    fn another_server_with_the_secret_takes_a_ticket_for_a_period() {
        let ticket = at([1; 32], || hours(11)).encrypt(b"a session").unwrap();
        assert!(!ticket.windows(9).any(|window| window == b"a session"));
        for (now, secret, taken) in [
            ((|| hours(11)) as fn() -> SystemTime, [1; 32], true),
            (|| hours(23), [1; 32], true),
            (|| hours(30), [1; 32], false),
            (|| hours(0) - 5 * PERIOD, [1; 32], false),
            (|| SystemTime::UNIX_EPOCH - PERIOD, [1; 32], false),
            (|| hours(11), [2; 32], false),
        ] {
            let session = at(secret, now).decrypt(&ticket);
            assert_eq!(session.as_deref(), taken.then_some(b"a session".as_slice()));
        }
        assert_ne!(at([1; 32], || hours(11)).encrypt(b"a session"), Some(ticket));
    }

    #[test]
    fn a_ticket_is_taken_for_its_purpose_only() {
        let purposes = [Purpose::Anonymous, Purpose::Optional, Purpose::Required];
        for made_for in purposes {
            let ticket = Tickets::new(&[1; 32], made_for).encrypt(b"a session").unwrap();
            for used_for in purposes {
                let session = Tickets::new(&[1; 32], used_for).decrypt(&ticket);
                assert_eq!(session.is_some(), made_for == used_for, "{made_for:?} {used_for:?}");
            }
        }
    }

    #[test]
    fn a_ticket_that_was_changed_or_cut_is_not_taken() {
        let tickets = at([1; 32], || hours(11));
        let ticket = tickets.encrypt(b"a session").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {index}");
            assert_eq!(tickets.decrypt(&ticket[..index]), None, "{index} bytes");
        }
    }
}
