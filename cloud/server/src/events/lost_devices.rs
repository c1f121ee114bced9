//! Records that the devices of a server that is lost are disconnected: that server cannot. One server does it for all, once
//! the lease of the lost one has ended, and only for devices that have not come back meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::{ConnectionId, LostNode, NodeId, PresenceEvent, WatchEnded};
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
    node: NodeId,
    /// From when on it counts as disconnected, if the server has no lease then.
    due: Instant,
    /// Whether the lease of the server has ended.
    ended: bool,
}

/// How long a device has time to come back.
const GRACE: Duration = Duration::from_secs(10);

/// When a server is looked at again that cannot be reached, but has a lease.
const AGAIN: Duration = Duration::from_secs(5);

/// How much longer those that do not record it remember the device, in case the server that should is lost itself.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How often it is checked what is due, and how soon watching begins again after it failed.
const CHECK: Duration = Duration::from_secs(1);

/// What the event says.
const REASON: &str = "the server that it was connected to was lost";

impl LostDevices {
    /// Watches for lost servers, and records for their devices while this server leads. `serving` are the servers whose
    /// lease has not ended, if that can be said: they still have their devices, though they cannot be reached. Never
    /// returns before the backplane is gone.
    pub(crate) async fn run<S>(
        self,
        hub: Hub,
        log: EventLog,
        leads: Leadership,
        serving: impl Fn() -> S,
    ) where
        S: Future<Output = Option<HashSet<NodeId>>>,
    {
        let settling = async {
            let mut checks = interval(CHECK);
            checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                checks.tick().await;
                self.settle(&hub, &log, &leads, &serving).await;
            }
        };
        // Settling never delays watching, which would miss something.
        tokio::select! {
            () = self.watch(&hub, &log) => {}
            () = settling => {}
        }
    }

    async fn watch(&self, hub: &Hub, log: &EventLog) {
        loop {
            match hub.watch().await {
                Ok(mut watch) => {
                    drop(watch.snapshot());
                    let ended = loop {
                        match watch.next().await {
                            Ok(PresenceEvent::NodeLost(lost)) => self.add(&lost),
                            Ok(_) => {}
                            Err(ended) => break ended,
                        }
                    };
                    if let WatchEnded::Closed = ended {
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

    /// Another server has recorded that this device is disconnected.
    pub(super) fn recorded_elsewhere(&self, device: &DeviceId) {
        self.0.lock().remove(device);
    }

    fn add(&self, node: &LostNode) {
        let due = Instant::now() + GRACE;
        let mut lost = self.0.lock();
        for presence in &node.devices {
            let (connection, node) = (presence.connection, node.node);
            let device = Lost { connection, node, due, ended: false };
            lost.insert(presence.device.clone(), device);
        }
    }

    /// Records what is due, if this server leads.
    async fn settle<S>(
        &self,
        hub: &Hub,
        log: &EventLog,
        leads: &Leadership,
        serving: &impl Fn() -> S,
    ) where
        S: Future<Output = Option<HashSet<NodeId>>>,
    {
        let now = Instant::now();
        if self.0.lock().values().any(|lost| lost.due <= now && !lost.ended) {
            let Some(serving) = serving().await else { return };
            self.look_at(&serving, now);
        }
        let due: Vec<_> = {
            let mut lost = self.0.lock();
            if !leads.is_held() {
                lost.retain(|_, lost| !lost.ended || now < lost.due + REMEMBERED);
                return;
            }
            let due = lost.iter().filter(|(_, lost)| lost.ended);
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

    /// Postpones what is due for servers that have a lease.
    fn look_at(&self, serving: &HashSet<NodeId>, now: Instant) {
        for lost in self.0.lock().values_mut().filter(|lost| lost.due <= now) {
            if serving.contains(&lost.node) {
                lost.due = now + AGAIN;
            } else {
                lost.ended = true;
            }
        }
    }
}
