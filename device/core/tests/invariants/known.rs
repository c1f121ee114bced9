//! What is known about a connection from its inputs and actions.

use std::collections::HashSet;
use std::time::Duration;

use fedecks_device_core::*;

#[derive(Default)]
pub(crate) struct Known {
    /// The attempt or link of the driver, and whether it was dialed with credentials.
    pub(crate) link: Option<(Attempt, bool)>,
    /// The heartbeat interval of its Welcome, once that has arrived.
    pub(crate) welcomed: Option<Duration>,
    pub(crate) last_attempt: u64,
    pub(crate) logins: u64,
    pub(crate) unanswered: HashSet<LoginId>,
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
