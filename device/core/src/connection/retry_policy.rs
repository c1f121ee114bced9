//! When the next attempt starts after the end of an attempt or a connection, and what a refusal means for
//! a waiting login or the token. Rejected is not unreachable: only the cloud itself can void either.

use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason, Refusal};

use super::shared::Shared;
use crate::event::{LostReason, Verdict};
use crate::watch::Network;

/// When the next attempt starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// After a small random spread.
    Soon,
    /// After the backoff; the maximum one while the network is reported to be down.
    Backoff,
    /// After the maximum backoff, whatever the state of the network.
    MaxBackoff,
    /// After the delay that the cloud asked for, and a little longer to spread the devices.
    After(Duration),
}

/// Whether the end of a connection tells of a fault of this end or the cloud, which counts however long the
/// connection had lasted. Other ends come from something in between, or were intended.
pub(super) fn is_fault(reason: &LostReason) -> bool {
    let LostReason::Closed(close) = reason else { return false };
    match close.code {
        CloseCode::ProtocolError
        | CloseCode::TooBig
        | CloseCode::InternalError
        | CloseCode::Overloaded
        | CloseCode::Policy
        | CloseCode::Blocked
        | CloseCode::Replaced
        | CloseCode::Revoked => true,
        CloseCode::Normal | CloseCode::GoingAway | CloseCode::Restart | CloseCode::Other(_) => {
            false
        }
    }
}

impl Retry {
    /// After the end of a link; `was_probing` if a ping was unanswered since a change of the network.
    pub(super) fn after_loss(reason: &LostReason, was_probing: bool) -> Self {
        match reason {
            LostReason::Closed(close) => Self::after_close(*close),
            LostReason::Suspended => Self::Soon,
            LostReason::NoPong if was_probing => Self::Soon,
            LostReason::NoPong | LostReason::Broken(_) | LostReason::Local => Self::Backoff,
        }
    }

    /// After a refused upgrade. A rejection fails the waiting login; if there is none, it voids the token
    /// if that was revoked. An expired one may be good by another clock than the cloud's present one.
    pub(super) fn after_refusal(
        refusal: Refusal,
        retry_after: Option<Duration>,
        cx: &mut Shared,
    ) -> Self {
        let verdict = Verdict::of(refusal);
        if verdict == Verdict::TryLater {
            return retry_after.map_or(Self::Backoff, Self::After);
        }
        if cx.logins.reject(refusal, &mut cx.out) {
            return Self::Soon;
        }
        match verdict {
            Verdict::TokenVoid => cx.tokens.forget(&mut cx.out),
            Verdict::TokenLate => cx.tokens.set_late(true),
            Verdict::Rejected | Verdict::TryLater => {}
        }
        Self::MaxBackoff
    }

    /// Whether the wait results from what the cloud said, so that the network does not change it.
    pub(super) fn is_fixed(self) -> bool {
        matches!(self, Self::MaxBackoff | Self::After(_))
    }

    /// Draws the delay, and counts a failure unless it is `Soon`.
    pub(super) fn delay(self, cx: &mut Shared) -> Duration {
        let backoff = &mut cx.backoff;
        match self {
            Self::Soon => backoff.up_to(cx.config.spread),
            Self::Backoff if cx.network != Some(Network::Down) => backoff.after_failure(),
            Self::Backoff | Self::MaxBackoff => backoff.max_after_failure(),
            Self::After(delay) => {
                let delay = delay.min(cx.config.max_retry_after);
                // The spread grows with the number of times that the device was turned away.
                delay + backoff.after_failure().max(backoff.up_to(delay / 10))
            }
        }
    }

    fn after_close(close: CloseReason) -> Self {
        match close.code {
            CloseCode::Revoked | CloseCode::Policy | CloseCode::Blocked | CloseCode::Replaced => {
                Self::MaxBackoff
            }
            CloseCode::Restart | CloseCode::Overloaded => {
                close.retry_after.map_or(Self::Backoff, Self::After)
            }
            CloseCode::Normal
            | CloseCode::GoingAway
            | CloseCode::ProtocolError
            | CloseCode::TooBig
            | CloseCode::InternalError
            | CloseCode::Other(_) => Self::Backoff,
        }
    }
}
