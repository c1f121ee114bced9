//! The token with which a device reconnects. Only the cloud can open it.

use std::fmt;

/// A token that the cloud sealed for one device. Opaque to the device; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// Why a text is not a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is 1 to {max} printable ASCII characters without spaces", max = Token::MAX_CHARS)]
pub struct InvalidToken;

impl Token {
    /// The longest token, in characters.
    pub const MAX_CHARS: usize = 2_048;

    /// Checks only the syntax of `text`: whether the token is valid is up to the cloud.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidToken> {
        let text = text.as_ref();
        let valid = !text.is_empty()
            && text.len() <= Self::MAX_CHARS
            // Without an end before the last one, so that many are compared at once.
            && text.bytes().fold(true, |valid, byte| valid & byte.is_ascii_graphic());
        if valid { Ok(Self(text.into())) } else { Err(InvalidToken) }
    }

    /// The secret itself, only for the wire and the token store.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_printable_and_bounded() {
        assert!(Token::new("a".repeat(Token::MAX_CHARS)).is_ok());
        for bad in ["", "a b", "a\n", "é"] {
            assert_eq!(Token::new(bad), Err(InvalidToken), "{bad:?}");
        }
        assert_eq!(Token::new("a".repeat(Token::MAX_CHARS + 1)), Err(InvalidToken));
    }
}
