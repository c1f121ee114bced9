use std::sync::Arc;

use fedecks_cloud::{ApiTokens, Denylist, FailedLogins, Hub, SqliteStore};

use super::dashboard::Sessions;
use super::events::{EventLog, Streams};
use super::history::History;
use super::metrics::Metrics;
use crate::config::Config;

/// What everything that the server answers over HTTP works on.
pub(crate) struct Site {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) denylist: Denylist,
    pub(crate) tokens: ApiTokens,
    pub(crate) events: EventLog,
    pub(crate) streams: Streams,
    pub(crate) metrics: Metrics,
    pub(crate) history: History,
    /// Who is signed in to the dashboard.
    pub(crate) sessions: Sessions,
    /// Who guesses passwords or API tokens.
    pub(crate) failed_logins: FailedLogins,
    pub(crate) config: Arc<Config>,
}
