//! The header that identifies and authenticates a device.

use data_encoding::BASE64;

use super::refusal::Refusal;
use crate::credentials::{Credentials, DEVICE_ID_KEY, TOKEN_KEY};
use crate::device_id::DeviceId;
use crate::dialect::Dialect;
use crate::limits::{EncodeError, Limits};
use crate::term::Term;
use crate::token::Token;

/// The longest header that a cloud accepts by default, in characters.
pub const MAX_HEADER_CHARS: usize = 4_096;

/// The content of the header `x-fedecks-auth`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthRequest {
    /// The device.
    pub device_id: DeviceId,
    /// What it authenticates with.
    pub proof: Proof,
}

/// What a device authenticates with.
#[derive(Debug, Clone, PartialEq)]
pub enum Proof {
    /// A token from an earlier connection.
    Token(Token),
    /// Credentials, for a login.
    Credentials(Credentials),
}

/// Why an [`AuthRequest`] cannot be written to a header.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The dialect cannot encode the credentials.
    #[error("the credentials cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// The header would be longer than clouds accept.
    #[error("the credentials need {chars} characters in the header, the limit is {max}", max = MAX_HEADER_CHARS)]
    TooLong {
        /// The length of the header, in characters.
        chars: usize,
    },
}

/// The header's map is flat; its values may be slightly nested. Anyone may send one, so it takes little
/// memory.
const HEADER_LIMITS: Limits = Limits { max_size: 64 * 1024, max_depth: 8, max_decoded: 64 * 1024 };

impl AuthRequest {
    /// The header's value: a map encoded in `dialect`, in padded standard base64.
    pub fn to_header(&self, dialect: Dialect) -> Result<String, AuthError> {
        let mut entries = vec![(Term::from(DEVICE_ID_KEY), Term::from(self.device_id.as_str()))];
        match &self.proof {
            Proof::Token(token) => {
                entries.push((Term::from(TOKEN_KEY), Term::from(token.expose())));
            }
            Proof::Credentials(credentials) => {
                let own = |key: &str| key == DEVICE_ID_KEY || key == TOKEN_KEY;
                entries.extend(
                    credentials
                        .iter()
                        .filter(|(key, _)| !own(key))
                        .map(|(key, value)| (Term::from(key), value.clone())),
                );
            }
        }
        let bytes = dialect.encode_term(&Term::Map(entries), &HEADER_LIMITS)?;
        let header = BASE64.encode(&bytes);
        if header.len() > MAX_HEADER_CHARS {
            return Err(AuthError::TooLong { chars: header.len() });
        }
        Ok(header)
    }

    /// Parses a header of at most `max_chars` characters. A map with a token is an authentication by
    /// token, whatever else it contains.
    pub fn from_header(header: &[u8], dialect: Dialect, max_chars: usize) -> Result<Self, Refusal> {
        if header.len() > max_chars {
            return Err(Refusal::HeaderTooLong);
        }
        let bytes = BASE64.decode(header).map_err(|_| Refusal::NotBase64)?;
        Self::from_bytes(&bytes, dialect)
    }

    /// The same for the bytes that the header contains in base64.
    pub fn from_bytes(bytes: &[u8], dialect: Dialect) -> Result<Self, Refusal> {
        if let Some(request) = Self::from_texts(dialect.decode_two_texts(bytes)) {
            return Ok(request);
        }
        let term = dialect.decode_term(bytes, &HEADER_LIMITS).map_err(|_| Refusal::Malformed)?;
        let Term::Map(entries) = term else {
            return Err(Refusal::Malformed);
        };
        let mut device_id = None;
        let mut token = None;
        let mut rest = Vec::new();
        for (key, value) in entries {
            match key.as_str() {
                Some(DEVICE_ID_KEY) if device_id.is_none() => device_id = Some(value),
                Some(TOKEN_KEY) if token.is_none() => token = Some(value),
                Some(DEVICE_ID_KEY | TOKEN_KEY) | None => return Err(Refusal::Malformed),
                Some(_) => rest.push((key, value)),
            }
        }
        let device_id = device_id
            .as_ref()
            .and_then(Term::as_str)
            .and_then(|text| DeviceId::new(text).ok())
            .ok_or(Refusal::NoDeviceId)?;
        let proof = match token {
            Some(token) => {
                let token = token.as_str().and_then(|text| Token::new(text).ok());
                Proof::Token(token.ok_or(Refusal::TokenInvalid)?)
            }
            None => {
                let credentials = Credentials::from_term(Term::Map(rest));
                Proof::Credentials(credentials.map_err(|_| Refusal::Malformed)?)
            }
        };
        Ok(Self { device_id, proof })
    }

    /// What nearly every header has, a device id and a token, without making terms of them. `None` for anything else,
    /// valid or not.
    fn from_texts(texts: Option<[(&str, &str); 2]>) -> Option<Self> {
        let (device_id, token) = match texts? {
            [(DEVICE_ID_KEY, device_id), (TOKEN_KEY, token)]
            | [(TOKEN_KEY, token), (DEVICE_ID_KEY, device_id)] => (device_id, token),
            _ => return None,
        };
        let proof = Proof::Token(Token::new(token).ok()?);
        Some(Self { device_id: DeviceId::new(device_id).ok()?, proof })
    }
}
