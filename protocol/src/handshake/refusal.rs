//! The reasons for which a cloud refuses an upgrade, each with its HTTP status and machine-readable name.

/// Why a cloud refused an upgrade. Each has an HTTP status and a machine-readable reason in the header
/// [`REFUSAL_HEADER`](crate::REFUSAL_HEADER); together they distinguish it from the response of a proxy or
/// a captive portal, which must never cost a device its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// 400: no `x-fedecks-auth` header.
    #[error("the request has no x-fedecks-auth header")]
    MissingHeader,
    /// 400: the header is not padded standard base64.
    #[error("the x-fedecks-auth header is not padded standard base64")]
    NotBase64,
    /// 400: the header's bytes are not a map with text keys in the requested dialect.
    #[error("the x-fedecks-auth header does not contain a map with text keys")]
    Malformed,
    /// 400: the map has no valid `fedecks-device-id`.
    #[error("the x-fedecks-auth header has no valid fedecks-device-id")]
    NoDeviceId,
    /// 400: `Sec-WebSocket-Protocol` names no dialect that the cloud supports.
    #[error("the cloud supports none of the requested dialects")]
    UnsupportedDialect,
    /// 431: the header is longer than the cloud accepts.
    #[error("the x-fedecks-auth header is too long")]
    HeaderTooLong,
    /// 401: the cloud's handler did not accept the credentials.
    #[error("the credentials were not accepted")]
    BadCredentials,
    /// 401: the token was not sealed with a key that the cloud has.
    #[error(
        "the token was not sealed by this cloud, or its key is no longer known: log in again, or restore the cloud's key"
    )]
    TokenInvalid,
    /// 401: the token has expired.
    #[error("the token has expired")]
    TokenExpired,
    /// 401: the device's tokens were revoked.
    #[error("the token was revoked")]
    TokenRevoked,
    /// 401: the token was sealed for another device id.
    #[error("the token belongs to another device")]
    WrongDevice,
    /// 401: the claim has expired.
    #[error("the claim has expired: ask for a new one")]
    ClaimExpired,
    /// 401: the claim has no use left.
    #[error("the claim is used up: ask for a new one")]
    ClaimUsedUp,
    /// 401: an operator has revoked the claim.
    #[error("the claim was revoked: ask for a new one")]
    ClaimRevoked,
    /// 401: the claim is not for this device id.
    #[error("the claim is for other device ids than this one")]
    ClaimMismatch,
    /// 403: the device is blocked until an operator unblocks it.
    #[error("the device is blocked")]
    Blocked,
    /// 403: the client certificate is not accepted for this device.
    #[error("the client certificate is not accepted for this device")]
    CertificateRefused,
    /// 409: the device id belongs to a device that is registered already.
    #[error("the device id is registered already")]
    IdTaken,
    /// 429: too many attempts; `Retry-After` says how long to wait.
    #[error("too many attempts")]
    RateLimited,
    /// 503: the device id has a connection that works; `Retry-After` says how long to wait.
    #[error("a device with this id is connected")]
    InUse,
    /// 503: an operator has to approve the device; `Retry-After` says how long to wait.
    #[error("an operator has to approve this device")]
    ApprovalPending,
    /// 503: the cloud cannot decide at the moment; `Retry-After` says how long to wait.
    #[error("the cloud is not available")]
    Unavailable,
}

impl Refusal {
    /// Every refusal, in the order of `docs/protocol.md`.
    pub const ALL: [Self; 22] = [
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
        Self::ClaimExpired,
        Self::ClaimUsedUp,
        Self::ClaimRevoked,
        Self::ClaimMismatch,
        Self::Blocked,
        Self::CertificateRefused,
        Self::IdTaken,
        Self::RateLimited,
        Self::InUse,
        Self::ApprovalPending,
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
            | Self::WrongDevice
            | Self::ClaimExpired
            | Self::ClaimUsedUp
            | Self::ClaimRevoked
            | Self::ClaimMismatch => 401,
            Self::Blocked | Self::CertificateRefused => 403,
            Self::IdTaken => 409,
            Self::RateLimited => 429,
            Self::InUse | Self::ApprovalPending | Self::Unavailable => 503,
        }
    }

    /// The value of the header [`REFUSAL_HEADER`](crate::REFUSAL_HEADER).
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
            Self::ClaimExpired => "claim-expired",
            Self::ClaimUsedUp => "claim-used-up",
            Self::ClaimRevoked => "claim-revoked",
            Self::ClaimMismatch => "claim-mismatch",
            Self::Blocked => "blocked",
            Self::CertificateRefused => "certificate-refused",
            Self::IdTaken => "id-taken",
            Self::RateLimited => "rate-limited",
            Self::InUse => "in-use",
            Self::ApprovalPending => "approval-pending",
            Self::Unavailable => "unavailable",
        }
    }

    /// Recognizes a refusal in an HTTP response by its status and the value of its reason header. Any
    /// other combination is `None` and says nothing about the device.
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
    fn every_refusal_round_trips_through_its_response() {
        for refusal in Refusal::ALL {
            let read = Refusal::from_response(refusal.status(), Some(refusal.reason()));
            assert_eq!(read, Some(refusal));
        }
    }

    #[test]
    fn a_response_without_a_known_reason_is_not_a_refusal() {
        for status in [200, 302, 401, 403, 503] {
            assert_eq!(Refusal::from_response(status, None), None);
            assert_eq!(Refusal::from_response(status, Some("access denied")), None);
        }
        assert_eq!(Refusal::from_response(403, Some("token-revoked")), None);
    }
}
