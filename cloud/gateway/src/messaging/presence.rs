//! Which devices are connected, by which connection, and how connections are ordered.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fedecks_protocol::DeviceId;
use tokio::sync::broadcast;

/// Name of a node: one [`Hub`](crate::Hub) among those that share a backplane. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// Name of a connection, unique in the cluster. A later connection of a device has a greater one: it
/// begins with the time, and a node's next id is above every id that the node has seen, so that
/// clocks which differ a little do not turn the order round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Microseconds since 1970-01-01 UTC, raised where needed.
    stamp: u64,
    node: NodeId,
}

/// One device that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Which device.
    pub device: DeviceId,
    /// By which connection.
    pub connection: ConnectionId,
}

/// What happens to the presence of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceEvent {
    /// A device connected. One that was there already has a newer connection now: its older one will
    /// not be told as left.
    Arrived(Arc<Presence>),
    /// A device is gone.
    Left(Arc<Presence>),
}

/// All devices that are connected, and what happens from then on.
#[derive(Debug)]
pub struct PresenceWatch {
    snapshot: Vec<Arc<Presence>>,
    events: broadcast::Receiver<PresenceEvent>,
}

/// Why a watch tells no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnded {
    /// The watcher was too slow and events were lost: take a new watch, which begins with what is
    /// there by then.
    #[error("the watcher was too slow, {0} events were lost")]
    Lagged(u64),
    /// The backplane is gone.
    #[error("the backplane is gone")]
    Closed,
}

impl ConnectionId {
    /// An id from its parts, for a backplane that carries it between nodes.
    pub fn from_parts(stamp: u64, node: NodeId) -> Self {
        Self { stamp, node }
    }

    /// Its time, in microseconds since 1970-01-01 UTC, and possibly a little later than it was.
    pub fn stamp(self) -> u64 {
        self.stamp
    }

    /// The node that the connection was made to.
    pub fn node(self) -> NodeId {
        self.node
    }

    /// About when the connection was made.
    pub fn connected_at(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.stamp)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.stamp, self.node.0)
    }
}

impl PresenceWatch {
    /// A watch of a backplane: what it has now and a bounded channel of what follows.
    pub fn new(snapshot: Vec<Arc<Presence>>, events: broadcast::Receiver<PresenceEvent>) -> Self {
        Self { snapshot, events }
    }

    /// The devices that were connected when the watch began. Empty from the second call on.
    pub fn snapshot(&mut self) -> Vec<Arc<Presence>> {
        std::mem::take(&mut self.snapshot)
    }

    /// The next event after the snapshot. Cancel safe.
    pub async fn next(&mut self) -> Result<PresenceEvent, WatchEnded> {
        self.events.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(lost) => WatchEnded::Lagged(lost),
            broadcast::error::RecvError::Closed => WatchEnded::Closed,
        })
    }
}

/// Gives a node's connections their ids.
#[derive(Debug)]
pub(crate) struct ConnectionIds {
    node: NodeId,
    last: AtomicU64,
}

impl ConnectionIds {
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, last: AtomicU64::new(0) }
    }

    /// An id above all that this node has given or seen.
    pub(crate) fn next(&self, now: SystemTime) -> ConnectionId {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let above = |last: u64| now.max(last.saturating_add(1));
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(above(last)))
            .unwrap_or_default();
        ConnectionId { stamp: above(last), node: self.node }
    }

    /// Takes note of another node's connection.
    pub(crate) fn seen(&self, connection: ConnectionId) {
        self.last.fetch_max(connection.stamp, Ordering::Relaxed);
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }
}

/// A presence in a set that is searched by device.
#[derive(Debug, Clone)]
pub(crate) struct ByDevice<T>(pub(crate) Arc<T>);

impl<T: AsRef<DeviceId>> PartialEq for ByDevice<T> {
    fn eq(&self, other: &Self) -> bool {
        (*self.0).as_ref() == (*other.0).as_ref()
    }
}

impl<T: AsRef<DeviceId>> Eq for ByDevice<T> {}

impl<T: AsRef<DeviceId>> Hash for ByDevice<T> {
    fn hash<S: Hasher>(&self, state: &mut S) {
        (*self.0).as_ref().hash(state);
    }
}

impl<T: AsRef<DeviceId>> Borrow<DeviceId> for ByDevice<T> {
    fn borrow(&self) -> &DeviceId {
        (*self.0).as_ref()
    }
}

impl AsRef<DeviceId> for Presence {
    fn as_ref(&self) -> &DeviceId {
        &self.device
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
    }

    #[test]
    fn later_connections_have_greater_ids_even_if_the_clock_stands_still_or_goes_back() {
        let ids = ConnectionIds::new(NodeId(7));
        let given: Vec<_> = [10, 10, 5, 20].map(|now| ids.next(at(now))).into();
        assert!(given.is_sorted_by(|a, b| a < b), "{given:?}");
        assert_eq!(given[3].stamp(), 20);
    }

    #[test]
    fn an_id_is_above_those_seen_of_other_nodes_whatever_their_clock() {
        let ahead = ConnectionIds::new(NodeId(1)).next(at(1_000_000));
        let behind = ConnectionIds::new(NodeId(0));
        behind.seen(ahead);
        assert!(behind.next(at(10)) > ahead);
    }
}
