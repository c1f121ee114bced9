//! The signatures of webhook deliveries, by the scheme of standardwebhooks.com.

use std::fmt;

use data_encoding::BASE64;
use ring::hmac;

/// The key that signs a webhook's deliveries: HMAC-SHA256 over id, time and body. It proves to the
/// receiver who sent them, and that they are not a replay of old ones.
#[derive(Clone)]
pub(crate) struct SigningSecret(hmac::Key);

/// A text that is not a signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `whsec_` and 24 to 64 bytes in base64, such as from `openssl rand -base64 32`")]
pub(crate) struct InvalidSecret;

impl SigningSecret {
    /// Parses the form that the scheme's libraries use.
    pub(crate) fn new(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix("whsec_").ok_or(InvalidSecret)?;
        let key = BASE64.decode(encoded.as_bytes()).ok();
        let key = key.filter(|key| (24..=64).contains(&key.len())).ok_or(InvalidSecret)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// The value of the header `webhook-signature`; the time is in seconds since 1970-01-01 UTC.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.0);
        signing.update(format!("{id}.{timestamp}.").as_bytes());
        signing.update(body);
        format!("v1,{}", BASE64.encode(signing.sign().as_ref()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the scheme's specification, like the signature below.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_that_of_the_specification() {
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let signature = SigningSecret::new(SECRET).unwrap().sign(id, 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_invalid_secret_is_refused_and_none_is_shown() {
        let [short, long] = [23, 65].map(|length| BASE64.encode(&vec![1; length]));
        let (short, long) = (format!("whsec_{short}"), format!("whsec_{long}"));
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_%", &short, &long] {
            assert_eq!(SigningSecret::new(text).unwrap_err(), InvalidSecret, "{text}");
        }
        assert_eq!(format!("{:?}", SigningSecret::new(SECRET).unwrap()), "SigningSecret(…)");
    }
}
