use std::sync::Arc;

use fedecks_cloud::{ApiTokens, Denylist, FailedLogins, Hub, SqliteStore};
use tokio::sync::watch;

use super::events::{EventLog, Streams};
use super::webhooks;
use crate::config::Config;

/// What everything that the server answers over HTTP works on.
#[allow(dead_code, reason = "for the routes that follow")]
pub(crate) struct Site {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) denylist: Denylist,
    pub(crate) tokens: ApiTokens,
    pub(crate) events: EventLog,
    pub(crate) streams: Streams,
    /// Each webhook's name, and what it counts.
    pub(crate) webhooks: Vec<(String, Arc<webhooks::Counters>)>,
    /// Who guesses passwords or API tokens.
    pub(crate) failed_logins: FailedLogins,
    pub(crate) config: Arc<Config>,
    /// True once the server is about to end: whoever answers without an end ends then.
    pub(crate) stopping: watch::Receiver<bool>,
}
