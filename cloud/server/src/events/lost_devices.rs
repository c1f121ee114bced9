//! Records that the devices of a server that is lost are disconnected: that server cannot. One server does it for all, and
//! only for devices that have not come back meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::{ConnectionId, LostNode, PresenceEvent, WatchEnded};
use fedecks_cloud::{DeviceId, Hub};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::event::{Event, EventPayload};
use super::log::EventLog;
use crate::cluster::Leadership;

/// The devices of lost servers that may be disconnected. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LostDevices(Arc<Mutex<HashMap<DeviceId, Lost>>>);

#[derive(Clone, Copy)]
struct Lost {
    connection: ConnectionId,
    /// From when on it counts as disconnected.
    due: Instant,
}

/// How long a device has time to come back.
const GRACE: Duration = Duration::from_secs(10);

/// How much longer those that do not record it remember the device, in case the server that should is lost itself.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How often it is checked what is due, and how soon watching begins again after it failed.
const CHECK: Duration = Duration::from_secs(1);

/// What the event says.
const REASON: &str = "the server that it was connected to was lost";

impl LostDevices {
    /// Watches for lost servers, and records for their devices while this server leads. Never returns before the backplane
    /// is gone.
    pub(crate) async fn run(self, hub: Hub, log: EventLog, leads: Leadership) {
        loop {
            match hub.watch().await {
                Ok(mut watch) => {
                    drop(watch.snapshot());
                    if let Err(WatchEnded::Closed) = self.follow(watch, &hub, &log, &leads).await {
                        return;
                    }
                    // A lost server may be among what was missed.
                    log.record_gap();
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot watch for lost servers, will retry");
                    tokio::time::sleep(CHECK).await;
                }
            }
        }
    }

    async fn follow(
        &self,
        mut watch: fedecks_cloud::messaging::PresenceWatch,
        hub: &Hub,
        log: &EventLog,
        leads: &Leadership,
    ) -> Result<(), WatchEnded> {
        let mut checks = interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = watch.next() => {
                    if let PresenceEvent::NodeLost(lost) = event? {
                        self.add(&lost);
                    }
                }
                _ = checks.tick() => self.settle(hub, log, leads).await,
            }
        }
    }

    /// Another server has recorded that this device is disconnected.
    pub(super) fn recorded_elsewhere(&self, device: &DeviceId) {
        self.0.lock().remove(device);
    }

    fn add(&self, node: &LostNode) {
        let due = Instant::now() + GRACE;
        let mut lost = self.0.lock();
        for presence in &node.devices {
            let device = Lost { connection: presence.connection, due };
            lost.insert(presence.device.clone(), device);
        }
    }

    /// Records what is due, if this server leads.
    async fn settle(&self, hub: &Hub, log: &EventLog, leads: &Leadership) {
        let now = Instant::now();
        let due: Vec<_> = {
            let mut lost = self.0.lock();
            if !leads.is_held() {
                lost.retain(|_, device| now < device.due + REMEMBERED);
                return;
            }
            let due = lost.iter().filter(|(_, lost)| lost.due <= now);
            due.map(|(device, _)| device.clone()).collect()
        };
        for device in due {
            match hub.find(&device).await {
                // It is asked again.
                Err(_) => continue,
                Ok(found) => {
                    let lost = self.0.lock().remove(&device);
                    if let (Some(Lost { connection, .. }), None) = (lost, found) {
                        let payload =
                            EventPayload::Disconnected { connection, reason: REASON.to_owned() };
                        log.record(Event::now(&device, payload));
                    }
                }
            }
            // However many there are, others have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }
}
