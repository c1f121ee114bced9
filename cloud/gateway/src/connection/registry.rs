//! The devices that are connected to this node, each by its newest connection.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fedecks_protocol::{CloseCode, CloseReason, DeviceId, Dialect};
use tokio::sync::Notify;

use crate::auth::device::AuthenticatedBy;
use crate::connection::mailbox::{Mailbox, Order};
use crate::messaging::presence::{ByDevice, ConnectionId, Presence};

/// The devices that are connected to this node, each by its newest connection.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    devices: RwLock<HashSet<ByDevice<Connected>>>,
    /// Told whenever a connection is gone.
    left: Notify,
}

/// One connection of a device, as the rest of the node sees it.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) presence: Arc<Presence>,
    pub(crate) dialect: Dialect,
    /// The generation of the device's tokens that it was let in with.
    pub(crate) generation: u64,
    pub(crate) by: AuthenticatedBy,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) mailbox: Mailbox,
}

impl Connected {
    pub(crate) fn device(&self) -> &DeviceId {
        &self.presence.device
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        self.presence.connection
    }

    pub(crate) fn close(&self, code: CloseCode) -> bool {
        self.mailbox.order(Order::Close(CloseReason::new(code)))
    }
}

impl AsRef<DeviceId> for Connected {
    fn as_ref(&self) -> &DeviceId {
        self.device()
    }
}

impl Registry {
    /// Enters a connection. Of two connections of one device the older one is told that it was
    /// replaced, whichever comes here first.
    pub(crate) fn enter(&self, connected: &Arc<Connected>) {
        let older = {
            let mut devices = self.write();
            match devices.get(connected.device()) {
                Some(ByDevice(there)) if there.connection() > connected.connection() => {
                    Some(connected.clone())
                }
                Some(_) | None => {
                    devices.replace(ByDevice(connected.clone())).map(|ByDevice(older)| older)
                }
            }
        };
        if let Some(older) = older {
            older.close(CloseCode::Replaced);
        }
    }

    /// Removes a connection, unless a newer one has taken its place.
    pub(crate) fn leave(&self, connected: &Connected) {
        {
            let mut devices = self.write();
            let there = devices.get(connected.device());
            if there.is_some_and(|there| there.0.connection() == connected.connection()) {
                devices.remove(connected.device());
            }
        }
        self.left.notify_waiters();
    }

    pub(crate) fn get(&self, device: &DeviceId) -> Option<Arc<Connected>> {
        self.read().get(device).map(|ByDevice(connected)| connected.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Connected>> {
        self.read().iter().map(|ByDevice(connected)| connected.clone()).collect()
    }

    /// Waits until none of `connections` is here any more.
    pub(crate) async fn gone(&self, connections: &[Arc<Connected>]) {
        loop {
            let mut change = std::pin::pin!(self.left.notified());
            change.as_mut().enable();
            let here = |connected: &Arc<Connected>| {
                self.get(connected.device())
                    .is_some_and(|there| there.connection() == connected.connection())
            };
            if !connections.iter().any(here) {
                return;
            }
            change.await;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashSet<ByDevice<Connected>>> {
        self.devices.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashSet<ByDevice<Connected>>> {
        self.devices.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::connection::mailbox::Delivery;
    use crate::messaging::presence::NodeId;

    pub(crate) fn connected(device: &str, stamp: u64) -> Arc<Connected> {
        let device = DeviceId::new(device).unwrap();
        let connection = ConnectionId::from_parts(stamp, NodeId(1));
        Arc::new(Connected {
            presence: Arc::new(Presence { device, connection }),
            dialect: Dialect::Bincode,
            generation: 0,
            by: AuthenticatedBy::Credentials,
            peer: None,
            mailbox: Mailbox::default(),
        })
    }

    pub(crate) fn order(connected: &Connected) -> Option<Order> {
        match connected.mailbox.poll(&mut Context::from_waker(Waker::noop()), false) {
            Poll::Ready(Delivery::Order(order)) => Some(order),
            Poll::Ready(Delivery::Item(_)) | Poll::Pending => None,
        }
    }

    const REPLACED: Order =
        Order::Close(CloseReason { code: CloseCode::Replaced, retry_after: None });

    #[test]
    fn the_newest_connection_of_a_device_wins() {
        let registry = Registry::default();
        let (old, new) = (connected("a", 1), connected("a", 2));
        registry.enter(&old);
        registry.enter(&new);
        assert_eq!(order(&old), Some(REPLACED));
        assert_eq!(order(&new), None);
        assert_eq!(registry.get(new.device()).unwrap().connection(), new.connection());
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn an_older_connection_that_comes_late_is_the_one_that_is_replaced() {
        let registry = Registry::default();
        let (old, new) = (connected("a", 1), connected("a", 2));
        registry.enter(&new);
        registry.enter(&old);
        assert_eq!(order(&old), Some(REPLACED));
        assert_eq!(order(&new), None);
        assert_eq!(registry.get(new.device()).unwrap().connection(), new.connection());
    }

    #[test]
    fn a_late_end_of_an_older_connection_does_not_remove_the_newer_one() {
        let registry = Registry::default();
        let (old, new) = (connected("a", 1), connected("a", 2));
        registry.enter(&old);
        registry.enter(&new);
        registry.leave(&old);
        assert!(registry.get(new.device()).is_some());
        registry.leave(&new);
        assert!(registry.get(new.device()).is_none());
    }

    #[test]
    fn devices_do_not_disturb_each_other() {
        let registry = Registry::default();
        let (a, b) = (connected("a", 1), connected("b", 2));
        registry.enter(&a);
        registry.enter(&b);
        registry.leave(&a);
        assert_eq!(order(&b), None);
        assert_eq!(registry.all().len(), 1);
    }
}
