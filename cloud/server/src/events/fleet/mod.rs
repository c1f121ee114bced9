//! One event log for the fleet: each server publishes what it records, and records what the others publish. What is lost
//! on the way is a gap for the readers.

mod packet;
mod peers;
mod publisher;
mod receiver;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fedecks_cloud::Hub;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::log::EventLog;
use super::lost_devices::LostDevices;
use packet::TOPIC;
use peers::{Audience, Peers};
use publisher::Publisher;
use receiver::Receiver;

/// How long the last events may take when the server stops.
const LAST: Duration = Duration::from_secs(2);

/// The exchange of events with other servers. Ends when it is dropped.
pub(crate) struct SharedEvents {
    ended: watch::Sender<bool>,
    publishing: JoinSet<()>,
    _receiving: JoinSet<()>,
}

impl SharedEvents {
    /// Begins the exchange with the servers on the backplane of this hub. The devices in `lost` that another server
    /// records as disconnected are removed there.
    pub(crate) fn start(hub: &Hub, log: &EventLog, lost: LostDevices) -> Self {
        let (audience, audiences) = watch::channel(Audience::default());
        let (ended, end) = watch::channel(false);
        let (mut publishing, mut receiving) = (JoinSet::new(), JoinSet::new());
        let peers = Peers::new(audience);
        let receiver = Receiver::new(log.clone(), hub.subscribe(TOPIC), peers, lost);
        receiving.spawn(receiver.run());
        publishing.spawn(Publisher::new(hub.clone(), log.clone(), audiences).run(end));
        Self { ended, publishing, _receiving: receiving }
    }

    /// Publishes the last events. Call this after the last one.
    pub(crate) async fn end(mut self) {
        // Fails only if it has ended already.
        let _ = self.ended.send(true);
        let published = async { while self.publishing.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, published).await.is_err() {
            tracing::warn!("the other servers may not have the last events");
        }
    }
}
