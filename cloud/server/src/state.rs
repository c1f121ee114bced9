//! What everything that the server answers over HTTP works on.

use std::sync::Arc;

use fedecks_cloud::{ApiTokens, Denylist, FailedLogins, Hub};
use fedecks_store::Store;

use crate::config::Config;
use crate::events::{EventLog, Streams};
use crate::history::History;
use crate::http::dashboard::Sessions;
use crate::metrics::Metrics;

pub(crate) struct AppState {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<dyn Store>,
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
