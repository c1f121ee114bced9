//! The registration nonce.

use std::fmt;

/// 16 random bytes, the same for all logins of a device until it logs out or loses its data: the cloud counts a
/// login whose answer was lost, and which is repeated, only once. `Display` writes 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// From random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// From what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_32_digits_and_survives_a_round_trip() {
        let mut random = [0; 16];
        random[1] = 0xa7;
        let nonce = Nonce::new(random);
        assert_eq!(nonce.to_string(), "00a70000000000000000000000000000");
        assert_eq!(Nonce::parse(&nonce.to_string()), Some(nonce));
        assert_eq!(format!("{nonce:?}"), "Nonce(…)");
        for bad in ["", "a7", "+0a70000000000000000000000000000", &"0".repeat(33)] {
            assert_eq!(Nonce::parse(bad), None, "{bad}");
        }
    }
}
