//! State shared by all sessions of a cloud.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fedecks_protocol::{Capabilities, DeliveryOffer, DeviceId, InstallationId, Welcome};
use fedecks_store::{Clock, DeviceStore, DownState};

use crate::access_enforcer::AccessEnforcer;
use crate::auth::certificate::Certificates;
use crate::auth::denylist::Denylist;
use crate::auth::keyring::Keyring;
use crate::handler::Handler;
use crate::messaging::down::{SettledMessage, SettledObserver};
use crate::messaging::hub::Hub;
use crate::messaging::kept::KeptMessages;
use crate::options::Options;
use crate::session::alarms::Alarms;
use crate::session::traffic::TrafficLimits;

/// State shared by all sessions.
pub(crate) struct GatewayContext<H> {
    pub(crate) handler: H,
    pub(crate) keyring: Keyring,
    pub(crate) denylist: Denylist,
    pub(crate) certificates: Certificates,
    pub(crate) store: Arc<dyn DeviceStore>,
    /// `None` if devices cannot send kept messages.
    pub(crate) kept: Option<KeptMessages>,
    pub(crate) options: Options,
    /// What tokens are sealed and judged by.
    pub(crate) clock: Clock,
    pub(crate) traffic: TrafficLimits,
    pub(crate) alarms: Alarms,
    pub(crate) hub: Hub,
    pub(crate) _access_enforcer: AccessEnforcer,
}

/// What every cloud understands besides messages.
const CAPABILITIES: Capabilities = Capabilities::KEEP_ALIVE.or(Capabilities::REQUESTS);

impl<H> GatewayContext<H> {
    /// Whether the device has a session at work: one that has answered within two heartbeats, as far as this node knows.
    pub(crate) async fn is_in_use(&self, device: &DeviceId) -> bool {
        if let Some(connection) = self.hub.local(device) {
            let since = self.traffic.now() - self.options.heartbeat * 2;
            return connection.heard.is_since(since.seconds());
        }
        // How another node hears it is not known. Nothing is lost by waiting.
        self.hub.is_connected(device).await.unwrap_or(true)
    }

    /// The first frame of a session that begins now.
    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            server_time_ms: u64::try_from(self.clock.since_1970().as_millis()).unwrap_or(u64::MAX),
            heartbeat: self.options.heartbeat,
            idle_timeout: self.options.idle_timeout,
            max_frame: self.options.max_frame,
            delivery: Some(match &self.kept {
                Some(kept) => {
                    let capabilities = CAPABILITIES.or(Capabilities::KEPT_MESSAGES);
                    DeliveryOffer { capabilities, installation: kept.installation }
                }
                None => DeliveryOffer {
                    capabilities: CAPABILITIES,
                    installation: InstallationId([0; 16]),
                },
            }),
        }
    }
}

impl<H: Handler> SettledObserver for GatewayContext<H> {
    fn on_settled(&self, device: &DeviceId, settled: &[SettledMessage]) {
        let delivered = settled.iter().filter(|message| message.state == DownState::Delivered);
        let count = delivered.count() as u64;
        self.hub.counters().kept_delivered.fetch_add(count, Ordering::Relaxed);
        self.handler.on_settled(device, settled);
    }
}
