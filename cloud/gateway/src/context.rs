//! State shared by all sessions of a cloud.

use std::sync::Arc;

use fedecks_common::RateLimit;
use fedecks_protocol::Welcome;
use fedecks_store::{Clock, DeviceStore};
use tokio::time::Instant;

use crate::access_enforcer::AccessEnforcer;
use crate::auth::denylist::Denylist;
use crate::auth::keyring::Keyring;
use crate::messaging::hub::Hub;
use crate::options::Options;

/// State shared by all sessions.
pub(crate) struct GatewayContext<H> {
    pub(crate) handler: H,
    pub(crate) keyring: Keyring,
    pub(crate) denylist: Denylist,
    pub(crate) store: Option<Arc<dyn DeviceStore>>,
    pub(crate) options: Options,
    /// What tokens are sealed and judged by.
    pub(crate) clock: Clock,
    /// How fast a device may send; `None` for no limit.
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) started: Instant,
    pub(crate) hub: Hub,
    pub(crate) _access_enforcer: AccessEnforcer,
}

impl<H> GatewayContext<H> {
    /// The first frame of a session that begins now.
    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            server_time_ms: u64::try_from(self.clock.since_1970().as_millis()).unwrap_or(u64::MAX),
            heartbeat: self.options.heartbeat,
            idle_timeout: self.options.idle_timeout,
            max_frame: self.options.max_frame,
        }
    }

    /// Seconds from the start of the cloud to `now`.
    pub(crate) fn seconds_at(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.started).as_secs().try_into().unwrap_or(u32::MAX)
    }
}
