//! What is known about a connection from its inputs and actions.

use std::collections::HashSet;
use std::time::Duration;

use fedecks_device_core::*;
use fedecks_protocol::{Credentials, NONCE_KEY};

#[derive(Default)]
pub(crate) struct Known {
    /// The attempt or link of the driver, and whether it was dialed with credentials.
    pub(crate) link: Option<(Attempt, bool)>,
    /// The heartbeat interval of its Welcome, once that has arrived.
    pub(crate) welcomed: Option<Duration>,
    pub(crate) last_attempt: u64,
    pub(crate) logins: u64,
    pub(crate) unanswered: HashSet<LoginId>,
    /// The login that a nonce was last requested for.
    pub(crate) nonce_for: Option<LoginId>,
    pub(crate) logouts: u64,
    pub(crate) logouts_answered: u64,
    pub(crate) ever_forgotten: bool,
    /// The cloud has refused the token as expired, and not accepted it since.
    pub(crate) late: bool,
    /// The application knows that.
    pub(crate) late_told: bool,
    pub(crate) store_busy: bool,
    pub(crate) store_wait: Duration,
    pub(crate) store_retry: Option<Time>,
    /// The token is not loaded any more.
    pub(crate) loading_ended: bool,
    pub(crate) load_armed: bool,
    pub(crate) shut_down: bool,
}

impl Known {
    pub(crate) fn log_in(
        &mut self,
        core: &mut Connection,
        now: Time,
        size: usize,
        has_nonce: bool,
    ) {
        let mut credentials = Credentials::new().with("password", "x".repeat(size));
        if has_nonce {
            credentials = credentials.with(NONCE_KEY, "of the application");
        }
        self.logins += 1;
        let id = LoginId(self.logins);
        self.unanswered.insert(id);
        core.handle_login(now, id, credentials);
    }

    pub(crate) fn on_load_nonce(&mut self, login: LoginId) {
        assert!(self.unanswered.contains(&login), "a nonce for no login");
        self.nonce_for = Some(login);
    }

    /// Answers the newest request for a nonce, or repeats the answer.
    pub(crate) fn give_nonce(&self, core: &mut Connection, now: Time) {
        if let Some(login) = self.nonce_for {
            core.handle_nonce(now, login, Nonce::new([7; 16]));
        }
    }
}
