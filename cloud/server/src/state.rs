//! What the HTTP endpoints share.

use std::sync::Arc;

use fedecks_cloud::auth::{ApiTokens, FailedLogins};
use fedecks_cloud::{Denylist, Hub};
use fedecks_store::{AccountStore, AuditStore, DeviceStore};

use crate::config::Config;
use crate::events::{EventLog, Streams};
use crate::history::History;
use crate::http::dashboard::sessions::Sessions;
use crate::metrics::Metrics;

pub(crate) struct AppState {
    pub(crate) hub: Hub,
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) devices: Arc<dyn DeviceStore>,
    pub(crate) audit: Arc<dyn AuditStore>,
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
