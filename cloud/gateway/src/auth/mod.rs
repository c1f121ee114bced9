//! Authentication of devices (in this file), with what it needs: tokens, the denylist and failed logins.
//! Also the API tokens of other callers.

mod access_changes;
pub(crate) mod api_tokens;
pub(crate) mod certificate;
pub(crate) mod denylist;
pub(crate) mod device;
pub(crate) mod failed_logins;
pub(crate) mod headers;
pub(crate) mod keyring;
mod paseto;
mod poll;

pub use access_changes::{AccessChange, AccessChangeKind, AccessChanges, AccessEvent};
pub use api_tokens::{ApiTokens, InvalidApiToken};
pub use certificate::{CertificateLogin, CertificateName, CertificateRules};
pub use denylist::Denylist;
pub use device::AuthenticatedBy;
pub use failed_logins::{Attempt, FailedLoginLimits, FailedLogins, TooManyFailures};
pub use keyring::{Claims, Keyring, KeyringError, TokenError};

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64_simd::STANDARD;
use fedecks_common::utc;
use fedecks_edge::Peer;
use fedecks_protocol::{AUTH_HEADER, AuthRequest, DeviceId, Dialect, Proof, Refusal, Token};
use futures_util::FutureExt;
use http::HeaderName;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::context::GatewayContext;
use crate::handler::{Decision, Handler, Login};

use device::AuthenticatedDevice;
use headers::Headers;

/// A refusal, and when the device may retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) retry_after: Option<Duration>,
}

/// How long [`Handler::authenticate`] may take.
const AUTHENTICATE_TIMEOUT: Duration = Duration::from_secs(30);

/// When a device should retry after an error on our side.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Parses who a device claims to be, and its proof, from the headers of its request.
pub(crate) fn read_request<H>(
    context: &GatewayContext<H>,
    headers: &impl Headers,
) -> Result<(AuthRequest, Dialect), Refusal> {
    let dialect = dialect(headers)?;
    let header = auth_header(headers)?;
    if header.len() > context.options.max_header {
        return Err(Refusal::HeaderTooLong);
    }
    // With vector instructions, which the protocol's own function does without for the sake of devices.
    let bytes = STANDARD.decode_to_vec(header).map_err(|_| Refusal::NotBase64)?;
    Ok((AuthRequest::from_bytes(&bytes, dialect)?, dialect))
}

/// Verifies the proof, or returns why the device is refused.
pub(crate) async fn authenticate<H: Handler>(
    context: &GatewayContext<H>,
    request: AuthRequest,
    dialect: Dialect,
    peer: Option<&Peer>,
) -> Result<AuthenticatedDevice, Refused> {
    let now = time(context)?;
    let AuthRequest { device_id: device, proof } = request;
    // Read before the handler is called: a revocation in the meantime also applies to this login.
    let current = context.denylist.generation(&device);
    let certificate = context.certificates.verify(&device, peer, now)?;
    let live = certificate.map(|login| login.certificate.live());
    let peer = peer.map(|peer| peer.address);
    let (by, generation) = match proof {
        Proof::Token(token) => check_token(context, &device, &token, current)?,
        Proof::Credentials(credentials) => {
            // Boxed: most devices have a token, and are spared the space for what a login does.
            let in_use = Box::pin(context.is_in_use(&device)).await;
            let (device, credentials, at) = (&device, &credentials, context.clock.now());
            let login = Login { device, credentials, peer, certificate, in_use, at };
            let raised = Box::pin(check_credentials(&context.handler, login)).await?;
            if let Some(generation) = raised {
                context.denylist.raised(device, generation);
            }
            let by = if login.is_certificate_alone() {
                AuthenticatedBy::Certificate
            } else {
                AuthenticatedBy::Credentials
            };
            (by, raised.unwrap_or(current))
        }
    };
    // Not before it has proved to be the device: which ids exist and are blocked is no one else's business.
    if context.denylist.is_blocked(&device) {
        return Err(Refusal::Blocked.into());
    }
    Ok(AuthenticatedDevice { device, dialect, generation, by, peer, certificate: live })
}

/// Verifies the token of a device without a certificate; `None` for any other, and if it is refused, which is then found
/// out again by [`authenticate`].
#[cfg(feature = "serve")]
pub(crate) fn authenticate_by_token<H>(
    context: &GatewayContext<H>,
    request: AuthRequest,
    dialect: Dialect,
    peer: &Peer,
) -> Option<AuthenticatedDevice> {
    let AuthRequest { device_id: device, proof } = request;
    let Proof::Token(token) = proof else { return None };
    if peer.certificate.is_some() || time(context).is_err() {
        return None;
    }
    let current = context.denylist.generation(&device);
    let (by, generation) = check_token(context, &device, &token, current).ok()?;
    let peer = Some(peer.address);
    Some(AuthenticatedDevice { device, dialect, generation, by, peer, certificate: None })
}

/// The time by which a device is judged, if any is accepted now.
fn time<H>(context: &GatewayContext<H>) -> Result<u64, Refused> {
    if context.hub.is_draining() {
        return Err(unavailable(RETRY_AFTER));
    }
    // No token could be judged, and none sealed. Neither can be made up for later.
    let now = context.clock.now();
    if now < context.clock.floor() {
        return Err(unavailable(RETRY_AFTER));
    }
    Ok(now)
}

fn dialect(headers: &impl Headers) -> Result<Dialect, Refusal> {
    headers
        .all(&SEC_WEBSOCKET_PROTOCOL)
        .filter(|value| value.is_ascii())
        .filter_map(|value| std::str::from_utf8(value).ok())
        .find_map(Dialect::from_subprotocols)
        .ok_or(Refusal::UnsupportedDialect)
}

fn auth_header(headers: &impl Headers) -> Result<&[u8], Refusal> {
    static NAME: HeaderName = HeaderName::from_static(AUTH_HEADER);
    let mut values = headers.all(&NAME);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Refusal::Malformed),
        (None, _) => Err(Refusal::MissingHeader),
    }
}

fn check_token<H>(
    context: &GatewayContext<H>,
    device: &DeviceId,
    token: &Token,
    current: u64,
) -> Result<(AuthenticatedBy, u64), Refusal> {
    let claims = context.keyring.open(token).map_err(|error| {
        tracing::debug!(%device, %error, "refused a token");
        Refusal::TokenInvalid
    })?;
    if claims.device != *device {
        return Err(Refusal::WrongDevice);
    }
    if claims.generation < current {
        return Err(Refusal::TokenRevoked);
    }
    // It is the device's, also if it is late.
    if context.denylist.is_blocked(device) {
        return Err(Refusal::Blocked);
    }
    let (now, grace) = (context.clock.now(), context.options.token_grace.as_secs());
    let late = claims.expires_at <= now;
    if late {
        if now - claims.expires_at >= grace {
            return Err(Refusal::TokenExpired);
        }
        context.hub.counters().late_tokens.fetch_add(1, Ordering::Relaxed);
        let expired = utc(claims.expires_at);
        tracing::info!(%device, expired, "accepted a token that has expired, within the grace");
    }
    Ok((AuthenticatedBy::Token { issued_at: claims.issued_at, late }, claims.generation))
}

/// Returns the generation of the device's tokens if the handler has raised it.
async fn check_credentials<H: Handler>(
    handler: &H,
    login: Login<'_>,
) -> Result<Option<u64>, Refused> {
    let device = login.device;
    let decision = async { handler.authenticate(login).await };
    let decision = AssertUnwindSafe(decision).catch_unwind();
    let decision = match tokio::time::timeout(AUTHENTICATE_TIMEOUT, decision).await {
        Ok(Ok(decision)) => decision,
        Ok(Err(_)) => {
            tracing::error!(%device, "the handler panicked while it checked credentials");
            return Err(unavailable(RETRY_AFTER));
        }
        Err(_) => {
            tracing::error!(%device, "the handler did not check credentials in time");
            return Err(unavailable(RETRY_AFTER));
        }
    };
    match decision {
        Decision::Accept => Ok(None),
        Decision::AcceptAt { generation } => Ok(Some(generation)),
        Decision::Refuse { refusal, retry_after } => Err(Refused { refusal, retry_after }),
        Decision::Reject => Err(Refusal::BadCredentials.into()),
        Decision::Blocked => Err(Refusal::Blocked.into()),
        Decision::RateLimited { retry_after } => {
            Err(Refused { refusal: Refusal::RateLimited, retry_after: Some(retry_after) })
        }
        Decision::Unavailable { retry_after } => Err(unavailable(retry_after)),
    }
}

fn unavailable(retry_after: Duration) -> Refused {
    Refused { refusal: Refusal::Unavailable, retry_after: Some(retry_after) }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, retry_after: None }
    }
}
