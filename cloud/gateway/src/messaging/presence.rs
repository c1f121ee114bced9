//! Which devices are connected, by which connections, and how connections are ordered.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fedecks_protocol::DeviceId;
use tokio::sync::broadcast;

/// Id of a node: of one [`Hub`](crate::Hub) among those that share a backplane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a number and nothing else")]
pub struct NodeId(pub u64);

/// Id of a connection, unique in the cluster. A later connection of a device has a greater id: an id
/// begins with the time, and is always greater than every id that the node has seen, so that clocks that
/// differ a little do not reverse the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Microseconds since 1970-01-01 UTC, increased if needed.
    stamp: u64,
    node: NodeId,
}

/// A connected device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// The device.
    pub device: DeviceId,
    /// Its connection.
    pub connection: ConnectionId,
}

/// A change of presence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// A device has connected. If it was present already, this is a newer connection, and no
    /// [`PresenceEvent::Left`] follows for the older one.
    Arrived(Arc<Presence>),
    /// A device has disconnected.
    Left(Arc<Presence>),
    /// A node is lost, and its devices with it. No [`PresenceEvent::Left`] follows for them, and the node has not
    /// noticed that they left.
    NodeLost(Arc<LostNode>),
}

/// A node that is lost: it died, or the others cannot reach it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostNode {
    /// The node.
    pub node: NodeId,
    /// The devices that were connected to it, in no order. They may have connected to another node since.
    pub devices: Vec<Arc<Presence>>,
}

/// The connected devices, followed by every change.
///
/// ```no_run
/// # async fn example(hub: fedecks_cloud::Hub) -> Result<(), Box<dyn std::error::Error>> {
/// let mut watch = hub.watch().await?;
/// println!("{} devices are connected", watch.snapshot().len());
/// loop {
///     println!("{}", watch.next().await?);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct PresenceWatch {
    snapshot: Vec<Arc<Presence>>,
    events: broadcast::Receiver<PresenceEvent>,
}

/// The changes of presence, for implementors of a backplane.
#[derive(Debug)]
pub struct PresenceEvents(broadcast::Sender<PresenceEvent>);

/// How many events a watcher may lag behind.
pub(crate) const EVENT_BACKLOG: usize = 4096;

/// Why a watch has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchEnded {
    /// The watcher was too slow and events were lost. Start a new watch, which begins with a new
    /// snapshot.
    #[error("the watcher was too slow, {0} events were lost")]
    Lagged(u64),
    /// The backplane is gone.
    #[error("the backplane is gone")]
    Closed,
}

impl fmt::Display for PresenceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrived(presence) => write!(f, "{} has connected", presence.device),
            Self::Left(presence) => write!(f, "{} has disconnected", presence.device),
            Self::NodeLost(lost) => {
                write!(f, "node {:x} is lost, with {} devices", lost.node.0, lost.devices.len())
            }
        }
    }
}

impl Presence {
    /// That this device is connected by this connection, for implementors of a backplane.
    pub fn new(device: DeviceId, connection: ConnectionId) -> Self {
        Self { device, connection }
    }
}

impl LostNode {
    /// That this node is lost with these devices, for implementors of a backplane.
    pub fn new(node: NodeId, devices: Vec<Arc<Presence>>) -> Self {
        Self { node, devices }
    }
}

impl ConnectionId {
    /// An id from its parts, for a backplane that carries it between nodes.
    pub fn from_parts(stamp: u64, node: NodeId) -> Self {
        Self { stamp, node }
    }

    /// The time of the connection in microseconds since 1970-01-01 UTC, possibly slightly too late.
    pub fn stamp(self) -> u64 {
        self.stamp
    }

    /// The node of the connection.
    pub fn node(self) -> NodeId {
        self.node
    }

    /// The approximate time of the connection.
    pub fn connected_at(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.stamp)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.stamp, self.node.0)
    }
}

impl PresenceEvents {
    /// Without any watches yet.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(EVENT_BACKLOG))
    }

    /// Sends an event to every watch. One that is 4,096 events behind ends with [`WatchEnded::Lagged`].
    pub fn send(&self, event: PresenceEvent) {
        // Fails only if there are no watches.
        let _ = self.0.send(event);
    }

    /// A watch that begins with these devices, and continues with what is sent from now on.
    pub fn watch(&self, snapshot: Vec<Arc<Presence>>) -> PresenceWatch {
        PresenceWatch { snapshot, events: self.0.subscribe() }
    }
}

impl Default for PresenceEvents {
    fn default() -> Self {
        Self::new()
    }
}

impl PresenceWatch {
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

/// Generates the ids of a node's connections.
#[derive(Debug)]
pub(crate) struct ConnectionIds {
    node: NodeId,
    last: AtomicU64,
}

impl ConnectionIds {
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, last: AtomicU64::new(0) }
    }

    /// An id greater than all that this node has generated or observed.
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

    /// Observes the id of another node's connection.
    pub(crate) fn observe(&self, connection: ConnectionId) {
        self.last.fetch_max(connection.stamp, Ordering::Relaxed);
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }
}

/// An entry of a set that is searched by device.
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
    fn ids_increase_even_if_the_clock_stops_or_goes_back() {
        let ids = ConnectionIds::new(NodeId(7));
        let generated: Vec<_> = [10, 10, 5, 20].map(|now| ids.next(at(now))).into();
        assert!(generated.is_sorted_by(|a, b| a < b), "{generated:?}");
        assert_eq!(generated[3].stamp(), 20);
    }

    #[test]
    fn an_id_is_greater_than_observed_ids_of_other_nodes() {
        let ahead = ConnectionIds::new(NodeId(1)).next(at(1_000_000));
        let behind = ConnectionIds::new(NodeId(0));
        behind.observe(ahead);
        assert!(behind.next(at(10)) > ahead);
    }
}
