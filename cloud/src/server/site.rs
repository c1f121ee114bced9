use std::sync::Arc;

use fedecks_cloud::{ApiTokens, Denylist, FailedLogins, Hub, SqliteStore};
use tokio::sync::watch;

use crate::config::Config;

/// What everything that the server answers over HTTP works on.
#[allow(dead_code, reason = "for the routes that follow")]
pub(crate) struct Site {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) denylist: Denylist,
    pub(crate) tokens: ApiTokens,
    /// Who guesses passwords or API tokens.
    pub(crate) failed_logins: FailedLogins,
    pub(crate) config: Arc<Config>,
    /// True once the server is about to end: whoever answers without an end ends then.
    pub(crate) stopping: watch::Receiver<bool>,
}
