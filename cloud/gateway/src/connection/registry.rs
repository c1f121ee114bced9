//! The devices that are connected to this node, each by its newest connection.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fedecks_protocol::{CloseCode, CloseReason, DeviceId, Dialect};
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::auth::device::AuthenticatedBy;
use crate::connection::mailbox::{CloseCommand, Mailbox};
use crate::messaging::presence::{ByDevice, ConnectionId, Presence};

/// The devices that are connected to this node, each by its newest connection.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    devices: RwLock<Devices>,
    /// Notified whenever a connection is removed.
    removed: Notify,
}

#[derive(Debug, Default)]
struct Devices {
    newest: HashSet<ByDevice<ConnectionHandle>, RandomState>,
    /// The number of connections of a device that were replaced and are not removed yet.
    ending: HashMap<DeviceId, usize>,
}

/// The handle of one connection for the rest of the node.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    pub(crate) presence: Arc<Presence>,
    pub(crate) dialect: Dialect,
    /// The generation of the device's tokens when it was authenticated.
    pub(crate) generation: u64,
    pub(crate) authenticated_by: AuthenticatedBy,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) mailbox: Mailbox,
    pub(crate) heard: Heard,
}

/// When the device was heard last, in seconds since the start of the cloud. At first it counts as heard just now.
#[derive(Debug)]
pub(crate) struct Heard(AtomicU32);

impl Default for Heard {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

impl Heard {
    pub(crate) fn at(&self, second: u32) {
        self.0.store(second, Ordering::Relaxed);
    }

    /// Whether that was at `since` or later.
    pub(crate) fn is_since(&self, since: u32) -> bool {
        self.0.load(Ordering::Relaxed) >= since
    }
}

impl ConnectionHandle {
    pub(crate) fn device(&self) -> &DeviceId {
        &self.presence.device
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.presence.connection
    }

    pub(crate) fn close(&self, code: CloseCode) -> bool {
        self.mailbox.end_session(CloseCommand::Close(CloseReason::new(code)))
    }
}

impl AsRef<DeviceId> for ConnectionHandle {
    fn as_ref(&self) -> &DeviceId {
        self.device()
    }
}

impl Registry {
    /// Inserts a connection. Of two connections of one device the older one is closed as replaced,
    /// whichever is inserted first.
    pub(crate) fn insert(&self, connection: &Arc<ConnectionHandle>) {
        let older = {
            let mut devices = self.devices.write();
            let Devices { newest, ending } = &mut *devices;
            let older = match newest.replace(ByDevice(connection.clone())) {
                // Seldom, so that only then the device is looked up twice.
                Some(newer) if newer.0.id() > connection.id() => {
                    newest.replace(newer).map(|ByDevice(older)| older)
                }
                older => older.map(|ByDevice(older)| older),
            };
            if let Some(older) = &older {
                *ending.entry(older.device().clone()).or_default() += 1;
            }
            older
        };
        if let Some(older) = older {
            older.close(CloseCode::Replaced);
        }
    }

    /// Removes a connection, unless a newer one has replaced it.
    pub(crate) fn remove(&self, connection: &ConnectionHandle) {
        {
            let mut devices = self.devices.write();
            let Devices { newest, ending } = &mut *devices;
            match newest.take(connection.device()) {
                Some(ByDevice(current)) if current.id() == connection.id() => {}
                other => {
                    newest.extend(other);
                    if let Some(count) = ending.get_mut(connection.device()) {
                        *count -= 1;
                        if *count == 0 {
                            ending.remove(connection.device());
                        }
                    }
                }
            }
        }
        self.removed.notify_waiters();
    }

    pub(crate) fn get(&self, device: &DeviceId) -> Option<Arc<ConnectionHandle>> {
        self.devices.read().newest.get(device).map(|ByDevice(connection)| connection.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.read().newest.len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<ConnectionHandle>> {
        self.devices.read().newest.iter().map(|ByDevice(connection)| connection.clone()).collect()
    }

    /// Whether a connection of the device was replaced and is not removed yet.
    pub(crate) fn is_ending(&self, device: &DeviceId) -> bool {
        self.devices.read().ending.contains_key(device)
    }

    /// Waits until all of `connections` have been removed.
    pub(crate) async fn until_removed(&self, connections: &[Arc<ConnectionHandle>]) {
        loop {
            let mut removed = std::pin::pin!(self.removed.notified());
            removed.as_mut().enable();
            let is_present = |connection: &Arc<ConnectionHandle>| {
                self.get(connection.device()).is_some_and(|current| current.id() == connection.id())
            };
            if !connections.iter().any(is_present) {
                return;
            }
            removed.await;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::byte_pool::BytePool;
    use crate::connection::mailbox::Delivery;
    use crate::messaging::presence::NodeId;

    pub(crate) fn handle(device: &str, stamp: u64) -> Arc<ConnectionHandle> {
        let device = DeviceId::new(device).unwrap();
        let connection = ConnectionId::from_parts(stamp, NodeId(1));
        Arc::new(ConnectionHandle {
            presence: Arc::new(Presence { device, connection }),
            dialect: Dialect::Bincode,
            generation: 0,
            authenticated_by: AuthenticatedBy::Credentials,
            peer: None,
            mailbox: Mailbox::default(),
            heard: Heard::default(),
        })
    }

    pub(crate) fn close_command(handle: &ConnectionHandle) -> Option<CloseCommand> {
        match handle.mailbox.poll(&mut Context::from_waker(Waker::noop()), false, &BytePool::new(0))
        {
            Poll::Ready(Delivery::Close(command)) => Some(command),
            Poll::Ready(Delivery::Item(_) | Delivery::Kept | Delivery::NoRoom) | Poll::Pending => {
                None
            }
        }
    }

    const REPLACED: CloseCommand =
        CloseCommand::Close(CloseReason { code: CloseCode::Replaced, retry_after: None });

    fn with(handles: [&Arc<ConnectionHandle>; 2]) -> Registry {
        let registry = Registry::default();
        handles.into_iter().for_each(|handle| registry.insert(handle));
        registry
    }

    #[test]
    fn the_newest_connection_wins_even_if_inserted_first() {
        for newest_first in [false, true] {
            let (old, new) = (handle("a", 1), handle("a", 2));
            let registry = with(if newest_first { [&new, &old] } else { [&old, &new] });
            assert_eq!(close_command(&old), Some(REPLACED));
            assert_eq!(close_command(&new), None);
            assert_eq!(registry.get(new.device()).unwrap().id(), new.id());
            assert_eq!(registry.len(), 1);
            assert!(registry.is_ending(new.device()), "{newest_first}");
            registry.remove(&old);
            assert!(!registry.is_ending(new.device()), "{newest_first}");
            assert!(registry.get(new.device()).is_some(), "{newest_first}");
            registry.remove(&new);
            assert!(registry.get(new.device()).is_none(), "{newest_first}");
            assert!(registry.devices.read().ending.is_empty(), "{newest_first}");
        }
    }

    #[test]
    fn devices_do_not_affect_each_other() {
        let (a, b) = (handle("a", 1), handle("b", 2));
        let registry = with([&a, &b]);
        registry.remove(&a);
        assert_eq!(close_command(&b), None);
        assert_eq!(registry.all().len(), 1);
    }
}
