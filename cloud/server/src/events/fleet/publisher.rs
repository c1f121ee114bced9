//! Publishes a server's own events for the others. It reads the log at its own pace, as event streams do, so that it
//! delays no one and keeps nothing in memory that has left the log.

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::Hub;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::entry::{Content, LogEntry, Reach};
use super::super::event::Event;
use super::super::log::EventLog;
use super::packet::{Filling, MAX_BYTES, TOPIC};
use super::peers::{Audience, HEARTBEAT};

pub(super) struct Publisher {
    hub: Hub,
    log: EventLog,
    audience: watch::Receiver<Audience>,
    /// The number of the first event in the log that was not published or left out.
    next: u64,
    /// The sequence number of the next packet. A number without a packet tells the others that events are missing.
    sequence: u64,
    fails: bool,
}

/// The pause after reading, in which events gather.
const PACE: Duration = Duration::from_millis(20);

/// How long publishing a packet may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Publisher {
    pub(super) fn new(hub: Hub, log: EventLog, audience: watch::Receiver<Audience>) -> Self {
        let next = log.next();
        Self { hub, log, audience, next, sequence: 0, fails: false }
    }

    /// Publishes until the server has ended, and then what is left.
    pub(super) async fn run(mut self, mut ended: watch::Receiver<bool>) {
        let mut changes = self.log.changes();
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrivals = 0;
        loop {
            // Before reading the log: whatever is recorded afterwards wakes this up.
            changes.mark_unchanged();
            let read_at = Instant::now();
            let audience = *self.audience.borrow_and_update();
            self.publish(audience).await;
            if audience.arrivals != arrivals {
                // So that those that have just come know this one.
                arrivals = audience.arrivals;
                self.send(Filling::default(), false).await;
            }
            tokio::select! {
                () = end_of(&mut ended) => break,
                _ = changes.changed(), if audience.servers > 0 => {
                    tokio::time::sleep_until(read_at + PACE).await;
                }
                _ = self.audience.changed() => {}
                _ = heartbeat.tick() => self.send(Filling::default(), false).await,
            }
        }
        let audience = *self.audience.borrow();
        self.publish(audience).await;
        self.send(Filling::default(), true).await;
    }

    /// Publishes what the log has, if there is another server.
    async fn publish(&mut self, audience: Audience) {
        if audience.servers == 0 {
            let next = self.log.next();
            if self.next < next {
                self.next = next;
                self.sequence += 1;
            }
            return;
        }
        loop {
            match self.log.read(self.next) {
                Err(missed) => {
                    self.next = missed.first;
                    self.sequence += 1;
                }
                Ok(entries) if entries.is_empty() => return,
                Ok(entries) => self.publish_batch(entries).await,
            }
        }
    }

    async fn publish_batch(&mut self, entries: Vec<Arc<LogEntry>>) {
        // Not kept in memory by waiting.
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| (entry.number, shared(&entry).map(fits), Arc::downgrade(&entry)))
            .collect();
        let mut filling = Filling::default();
        for (number, fits, entry) in entries {
            self.next = number + 1;
            let Some(fits) = fits else { continue };
            let entry = if fits { self.log.rendered(&entry).await } else { None };
            let added = match entry.as_ref().and_then(|entry| Some((entry, shared(entry)?))) {
                Some((entry, event)) => {
                    filling.add(entry, event) || {
                        self.send(std::mem::take(&mut filling), false).await;
                        filling.add(entry, event)
                    }
                }
                None => false,
            };
            if !added {
                self.send(std::mem::take(&mut filling), false).await;
                self.sequence += 1;
            }
        }
        if !filling.is_empty() {
            self.send(filling, false).await;
        }
    }

    /// Sends a packet. If it does not arrive, the others miss its number.
    async fn send(&mut self, filling: Filling, ended: bool) {
        let sequence = self.sequence;
        if !filling.is_empty() {
            self.sequence += 1;
        }
        let message = filling.into_message(self.log.instance(), sequence, ended);
        let sending = self.hub.publish_message(TOPIC, &message);
        let failed = match tokio::time::timeout(PATIENCE, sending).await {
            Ok(sent) => sent.err().map(|error| error.to_string()),
            Err(_) => Some(format!("took longer than {} s", PATIENCE.as_secs())),
        };
        if let Some(error) = failed.as_ref().filter(|_| !self.fails) {
            tracing::warn!(
                error,
                "cannot publish events for the other servers, they will have gaps"
            );
        }
        self.fails = failed.is_some();
    }
}

async fn end_of(ended: &mut watch::Receiver<bool>) {
    // An error is the end as well.
    let _ = ended.wait_for(|ended| *ended).await;
}

/// The event, if the other servers get it from this one.
fn shared(entry: &LogEntry) -> Option<&Event> {
    if let Content::Own(event, Reach::All) = entry.content() { Some(event) } else { None }
}

/// Whether its JSON may fit into a packet.
fn fits(event: &Event) -> bool {
    event.json_length() <= MAX_BYTES
}
