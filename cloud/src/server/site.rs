use std::sync::Arc;

use fedecks_cloud::{ApiTokens, Denylist, FailedLogins, Hub, SqliteStore};
use tokio::sync::watch;

use super::events::{EventLog, Streams};
use super::webhooks;
use crate::config::Config;

/// What everything that the server answers over HTTP works on.
pub(crate) struct Site {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) denylist: Denylist,
    pub(crate) tokens: ApiTokens,
    pub(crate) events: EventLog,
    pub(crate) streams: Streams,
    /// Each webhook's name, and what it counts.
    #[allow(dead_code, reason = "for the metrics")]
    pub(crate) webhooks: Vec<(String, Arc<webhooks::Counters>)>,
    /// Who guesses passwords or API tokens.
    pub(crate) failed_logins: FailedLogins,
    pub(crate) config: Arc<Config>,
    #[allow(dead_code, reason = "for the readiness")]
    /// True once the server is about to end: whoever answers without an end ends then.
    pub(crate) stopping: watch::Receiver<bool>,
}
