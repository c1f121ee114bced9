//! Why a cloud refuses an upgrade, with the status and the word for each reason.

/// Why a cloud refused an upgrade. Each has an HTTP status and a reason word in the header
/// [`REFUSAL_HEADER`](crate::REFUSAL_HEADER); both together tell our refusal from the answer of a
/// proxy or a captive portal, which must never cost a device its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// 400: no `x-fedecks-auth` header.
    #[error("the request carries no x-fedecks-auth header")]
    MissingHeader,
    /// 400: the header is not padded standard base64.
    #[error("the x-fedecks-auth header is not padded standard base64")]
    NotBase64,
    /// 400: the header's bytes are not a map with text keys in the dialect that was asked for.
    #[error("the x-fedecks-auth header does not hold a map with text keys")]
    Malformed,
    /// 400: the map has no `fedecks-device-id`, or what stands there is no device id.
    #[error("the x-fedecks-auth header has no valid fedecks-device-id")]
    NoDeviceId,
    /// 400: `Sec-WebSocket-Protocol` names no dialect that the cloud speaks.
    #[error("the cloud speaks none of the dialects asked for")]
    UnsupportedDialect,
    /// 431: the header is longer than the cloud accepts.
    #[error("the x-fedecks-auth header is too long")]
    HeaderTooLong,
    /// 401: the cloud's handler did not accept the credentials.
    #[error("the credentials were not accepted")]
    BadCredentials,
    /// 401: the token was not sealed by a key that the cloud has.
    #[error("the token was not sealed by this cloud, or its key is not known any more")]
    TokenInvalid,
    /// 401: the token was good but its time is over.
    #[error("the token has expired")]
    TokenExpired,
    /// 401: the device's tokens were revoked.
    #[error("the token was revoked")]
    TokenRevoked,
    /// 401: the token was sealed for another device id.
    #[error("the token belongs to another device")]
    WrongDevice,
    /// 403: the device is blocked until somebody unblocks it.
    #[error("the device is blocked")]
    Blocked,
    /// 429: too many attempts; `Retry-After` says how long to wait.
    #[error("too many attempts")]
    RateLimited,
    /// 503: the cloud cannot decide now; `Retry-After` says how long to wait.
    #[error("the cloud is not available")]
    Unavailable,
}

impl Refusal {
    /// Every refusal, in the order of the document.
    pub const ALL: [Self; 14] = [
        Self::MissingHeader,
        Self::NotBase64,
        Self::Malformed,
        Self::NoDeviceId,
        Self::UnsupportedDialect,
        Self::HeaderTooLong,
        Self::BadCredentials,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::WrongDevice,
        Self::Blocked,
        Self::RateLimited,
        Self::Unavailable,
    ];

    /// The HTTP status code.
    pub fn status(self) -> u16 {
        match self {
            Self::MissingHeader
            | Self::NotBase64
            | Self::Malformed
            | Self::NoDeviceId
            | Self::UnsupportedDialect => 400,
            Self::HeaderTooLong => 431,
            Self::BadCredentials
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::WrongDevice => 401,
            Self::Blocked => 403,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }

    /// The word in the header [`REFUSAL_HEADER`](crate::REFUSAL_HEADER).
    pub fn reason(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing-header",
            Self::NotBase64 => "not-base64",
            Self::Malformed => "malformed",
            Self::NoDeviceId => "no-device-id",
            Self::UnsupportedDialect => "unsupported-dialect",
            Self::HeaderTooLong => "header-too-long",
            Self::BadCredentials => "bad-credentials",
            Self::TokenInvalid => "token-invalid",
            Self::TokenExpired => "token-expired",
            Self::TokenRevoked => "token-revoked",
            Self::WrongDevice => "wrong-device",
            Self::Blocked => "blocked",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
        }
    }

    /// Reads a refusal off an HTTP answer: the status and the value of the reason header, if there
    /// was one. Anything but a pair of ours is `None` and says nothing about the device.
    pub fn from_response(status: u16, reason: Option<&str>) -> Option<Self> {
        let reason = reason?;
        Self::ALL
            .into_iter()
            .find(|refusal| refusal.reason() == reason && refusal.status() == status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_read_back_from_its_status_and_reason() {
        for refusal in Refusal::ALL {
            let read = Refusal::from_response(refusal.status(), Some(refusal.reason()));
            assert_eq!(read, Some(refusal));
        }
    }

    #[test]
    fn an_answer_without_our_reason_is_no_refusal() {
        for status in [200, 302, 401, 403, 503] {
            assert_eq!(Refusal::from_response(status, None), None);
            assert_eq!(Refusal::from_response(status, Some("access denied")), None);
        }
        assert_eq!(Refusal::from_response(403, Some("token-revoked")), None);
    }
}
