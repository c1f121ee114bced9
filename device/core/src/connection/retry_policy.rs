//! What the end of an attempt or a connection means: when the next attempt comes, and what a refusal costs
//! a waiting login or the token. Rejected is not unreachable: only the cloud's own word costs anything.

use std::time::Duration;

use fedecks_protocol::{CloseCode, CloseReason, Refusal};

use super::shared::Shared;
use crate::event::{LostReason, Verdict};
use crate::watch::Network;

/// When the next attempt comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// After a small random spread.
    Soon,
    /// After the back-off; the longest one while the network is said to be down.
    Backoff,
    /// After the longest back-off, whatever the network says.
    MaxBackoff,
    /// After what the cloud asked for, and a little more so that not all come together.
    After(Duration),
}

impl Retry {
    /// After a link that ended; `was_probing` if a ping was out because the network had changed.
    pub(super) fn after_loss(reason: &LostReason, was_probing: bool) -> Self {
        match reason {
            LostReason::Closed(close) => Self::after_close(*close),
            LostReason::Slept => Self::Soon,
            LostReason::NoPong if was_probing => Self::Soon,
            LostReason::NoPong | LostReason::Broken(_) | LostReason::Local => Self::Backoff,
        }
    }

    /// After the cloud refused the upgrade. If it rejected what it was shown, that ends a login that waits,
    /// or else the token, if that will never be good again.
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
        if verdict == Verdict::TokenIsDead {
            cx.tokens.forget(&mut cx.out);
        }
        Self::MaxBackoff
    }

    /// Whether the cloud asked for the wait, or it goes with what the cloud said.
    pub(super) fn is_ordered(self) -> bool {
        matches!(self, Self::MaxBackoff | Self::After(_))
    }

    /// How long that is now.
    pub(super) fn delay(self, cx: &mut Shared) -> Duration {
        let backoff = &mut cx.backoff;
        match self {
            Self::Soon => backoff.up_to(cx.config.spread),
            Self::Backoff if cx.network != Some(Network::Down) => backoff.after_failure(),
            Self::Backoff | Self::MaxBackoff => backoff.longest_after_failure(),
            Self::After(delay) => {
                let delay = delay.min(cx.config.max_ordered_delay);
                // The more often it was sent away, the more it spreads its return.
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
