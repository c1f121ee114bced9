//! What servers tell each other by topics: that one has renewed its lease, so that it reaches the database, and that
//! something waits for the one that delivers the events of webhooks. Both may be lost: nothing depends on a single one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::Hub;
use fedecks_cloud::messaging::TopicEvent;
use fedecks_store::DEAD_AFTER;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::Leadership;
use crate::lease::LeaseState;
use crate::webhooks::KeptEvents;

/// The topic of renewals. Handlers of this program publish on no topics, so the names are free.
const RENEWED: &str = "fedecks:renewed";

/// The topic of what was stored for webhooks.
const STORED: &str = "fedecks:stored";

/// How long a message may take to leave.
const SEND: Duration = Duration::from_secs(2);

/// The shortest time between two messages about what was stored.
const PAUSE: Duration = Duration::from_millis(10);

/// How many other servers are known at most.
const MOST_KNOWN: usize = 1024;

/// The other servers that this one was notified of. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<HashMap<String, Instant>>>);

impl Peers {
    /// How many have renewed their lease a short time ago.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().values().filter(|at| at.elapsed() < DEAD_AFTER).count()
    }

    fn renewed(&self, node: String) {
        let mut known = self.0.lock();
        known.retain(|_, at| at.elapsed() < DEAD_AFTER);
        if known.len() < MOST_KNOWN {
            known.insert(node, Instant::now());
        }
    }

    /// Tells the others whenever this server has renewed its lease, and notifies `other_renewed` when another one has.
    /// Runs until the lease has ended.
    pub(crate) async fn follow(
        self,
        hub: Hub,
        mut lease: watch::Receiver<LeaseState>,
        other_renewed: Arc<Notify>,
    ) {
        let own = format!("{:016x}", hub.node().0);
        let mut renewed = hub.subscribe(RENEWED);
        let mut renewals = None;
        loop {
            let before = renewals.replace(lease.borrow_and_update().renewals);
            if before != renewals {
                publish(&hub, RENEWED, &own).await;
            }
            tokio::select! {
                changed = lease.changed() => if changed.is_err() { return },
                Some(TopicEvent::Message(heard)) = renewed.next() => {
                    match heard.message.parse::<String>() {
                        Ok(node) if node != own && node.len() == own.len() => {
                            self.renewed(node);
                            other_renewed.notify_one();
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Rings the bell of the server that delivers, when another one has stored something for webhooks. Never returns.
pub(crate) async fn carry_bells(hub: Hub, kept: KeptEvents, leads: Leadership) {
    let mut stored = hub.subscribe(STORED);
    loop {
        tokio::select! {
            _ = stored.next() => kept.ring(),
            () = kept.stored_here() => {
                if !leads.is_held() {
                    publish(&hub, STORED, "").await;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn publish(hub: &Hub, topic: &str, text: &str) {
    match timeout(SEND, hub.publish(topic, text)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(topic, %error, "cannot reach the other servers"),
        Err(_) => tracing::debug!(topic, "the other servers cannot be reached in time"),
    }
}
