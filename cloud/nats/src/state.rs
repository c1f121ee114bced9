//! How the connection to NATS is, for readiness and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

/// How the connection to NATS is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NatsState {
    /// Whether it is connected.
    pub connected: bool,
    /// Since when it is connected, or not.
    pub since: SystemTime,
    /// Why the last connection ended or did not come about; `None` if there was no error since the last one began.
    pub error: Option<String>,
    /// How many other nodes are heard: servers, not hubs within one.
    pub nodes: usize,
    /// What was counted since the start.
    pub counters: NatsCounters,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsCounters {
    /// Messages that were handed to the client.
    pub sent: u64,
    /// Messages that were received, own ones included.
    pub received: u64,
    /// Messages that were not sent because NATS was away or too slow.
    pub dropped: u64,
    /// How often messages were lost because this server was too slow.
    pub missed: u64,
    /// Messages that were ignored because they are malformed, or of another version.
    pub malformed: u64,
    /// Snapshots of other nodes that were needed because announcements were lost, or a node was new.
    pub resyncs: u64,
    /// How often a connection began.
    pub connections: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) resyncs: AtomicU64,
    pub(crate) connections: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(crate) fn snapshot(&self) -> NatsCounters {
        NatsCounters {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            missed: self.missed.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            resyncs: self.resyncs.load(Relaxed),
            connections: self.connections.load(Relaxed),
        }
    }
}
