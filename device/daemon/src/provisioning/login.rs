//! A login without a user: what it waits for in the cloud, and when one that was put off is tried again.

use std::pin::pin;
use std::time::Duration;

use fedecks_device::Client;
use fedecks_device_core::{LoggedIn, LoginError};
use fedecks_protocol::{Credentials, Refusal};
use tokio::time::Instant;

/// The waits before a login is tried again that an operator has to allow: the first one, which doubles, and the longest.
/// An operator's permission lasts a day.
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(3_600);

/// Whether the cloud may accept the same credentials when an operator has done something.
pub(super) fn may_be_accepted_later(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Blocked | Refusal::IdTaken)
}

/// Logs in. `waits` gets what the login waits for whenever that changes, as a sentence; `None` for no known reason.
pub(super) async fn log_in(
    client: &Client,
    credentials: Credentials,
    waits: impl Fn(Option<String>),
) -> Result<LoggedIn, LoginError> {
    let mut status = client.watch_status();
    let before = status.borrow_and_update().last_refusal;
    let mut login = pin!(client.login(credentials));
    loop {
        let changed = tokio::select! {
            answer = &mut login => return answer,
            changed = status.changed() => changed,
        };
        if changed.is_err() {
            return login.await;
        }
        let last = status.borrow_and_update().last_refusal.filter(|last| Some(*last) != before);
        let waiting = last.map(|(_, refusal)| refusal).filter(|refusal| refusal.waits());
        waits(waiting.map(|refusal| refusal.explain(client.device_id().as_str())));
    }
}

/// When what was put off until later is tried again.
pub(super) struct Retry {
    wait: Duration,
    longest: Duration,
    due: Option<Instant>,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new(FIRST_RETRY, LONGEST_RETRY)
    }
}

impl Retry {
    pub(super) fn new(wait: Duration, longest: Duration) -> Self {
        Self { wait, longest, due: None }
    }

    /// Something was put off.
    pub(super) fn later(&mut self) {
        self.due = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(self.longest);
    }

    /// Whether there is nothing to wait for.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_none_or(|due| Instant::now() >= due)
    }
}
