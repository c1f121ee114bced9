//! What the HTTP endpoints share: handles of the parts that own the state, and none of their logic.

use std::sync::Arc;

use fedecks_cloud::auth::{ApiTokens, FailedLogins};
use fedecks_cloud::{Denylist, Hub};
use fedecks_store::{
    AccountStore, AuditStore, ClaimStore, Clock, ConsumerStore, DeviceStore, MessageStore,
    RegistrationStore,
};

use crate::audit_trail::AuditTrail;
use crate::config::Config;
use crate::dashboard_sessions::DashboardSessions;
use crate::device_messages::DeviceMessages;
use crate::events::{EventLog, Streams};
use crate::history::History;
use crate::metrics::{DeviceRequests, Metrics};
use crate::request_memory::RequestMemory;

pub(crate) struct AppState {
    pub(crate) hub: Hub,
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) claims: Arc<dyn ClaimStore>,
    pub(crate) registrations: Arc<dyn RegistrationStore>,
    pub(crate) devices: Arc<dyn DeviceStore>,
    pub(crate) messages: Arc<dyn MessageStore>,
    pub(crate) consumers: Arc<dyn ConsumerStore>,
    pub(crate) device_messages: DeviceMessages,
    pub(crate) audit: Arc<dyn AuditStore>,
    pub(crate) audit_trail: AuditTrail,
    pub(crate) clock: Clock,
    pub(crate) denylist: Denylist,
    pub(crate) tokens: ApiTokens,
    pub(crate) events: EventLog,
    pub(crate) streams: Streams,
    pub(crate) metrics: Metrics,
    pub(crate) device_requests: DeviceRequests,
    pub(crate) history: History,
    pub(crate) sessions: DashboardSessions,
    pub(crate) request_memory: RequestMemory,
    /// Shared by device logins, API tokens and dashboard sign-ins.
    pub(crate) failed_logins: FailedLogins,
    pub(crate) config: Arc<Config>,
}
