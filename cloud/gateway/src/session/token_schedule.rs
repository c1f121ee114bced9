//! When a session's device gets a new token. Does not make tokens.

use std::time::Duration;

use fedecks_store::unix_now;
use tokio::time::Instant;

use crate::auth::device::AuthenticatedBy;

/// When the next token of a session is due, by time or by request.
pub(super) struct TokenSchedule {
    due: Instant,
    /// When the device last requested a token and got one.
    requested_at: Option<Instant>,
}

/// How often a device gets a token on request.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);

impl TokenSchedule {
    /// A token is due immediately after a login, or when the presented token is as old as `refresh`.
    pub(super) fn new(by: AuthenticatedBy, refresh: Duration, now: Instant) -> Self {
        let delay = match by {
            AuthenticatedBy::Credentials => Duration::ZERO,
            AuthenticatedBy::Token { issued_at } => {
                refresh.saturating_sub(Duration::from_secs(unix_now().saturating_sub(issued_at)))
            }
        };
        Self { due: now + delay, requested_at: None }
    }

    /// Records that a token was sent.
    pub(super) fn sent(&mut self, refresh: Duration) {
        self.due = Instant::now() + refresh;
    }

    /// The device requests a token; returns false if it does so too often.
    pub(super) fn request(&mut self) -> bool {
        let now = Instant::now();
        if self.requested_at.is_some_and(|at| now < at + REQUEST_INTERVAL) {
            return false;
        }
        self.requested_at = Some(now);
        true
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }
}
