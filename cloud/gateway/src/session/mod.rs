//! One connection of one device, as the handler sees it; its own task is in `run`.

mod callback;
mod driver;
mod end;
pub(crate) mod error;
pub(crate) mod pace;
pub(crate) mod run;

pub use error::{Disconnected, SessionError};

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use fedecks_protocol::DeviceId;

use crate::auth::device::{AuthenticatedBy, AuthenticatedDevice};
use crate::connection::registry::Connected;
use crate::messaging::hub::Hub;
use crate::messaging::message::Topic;
use crate::messaging::presence::ConnectionId;
use crate::messaging::topics::Subscriber;

/// One connection of one device, as the handler's callbacks see it.
#[derive(Debug)]
pub struct Session {
    hub: Hub,
    connected: Arc<Connected>,
    topics: Mutex<Vec<Topic>>,
}

impl Session {
    /// The session is part of the hub until this is dropped.
    pub(crate) async fn enter(hub: Hub, device: AuthenticatedDevice) -> Self {
        let connected = hub.enter(device).await;
        Self { hub, connected, topics: Mutex::default() }
    }

    /// Tells the handler of what is published on the topic, until the session ends.
    pub fn subscribe(&self, topic: impl Into<Topic>) {
        let topic = topic.into();
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains(&topic) {
            self.hub.add_subscriber(&topic, self.subscriber());
            topics.reserve_exact(1);
            topics.push(topic);
        }
    }

    /// The opposite of [`Session::subscribe`]. What was published before may still come.
    pub fn unsubscribe(&self, topic: impl Into<Topic>) {
        let topic = topic.into();
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = topics.iter().position(|subscribed| *subscribed == topic) {
            topics.swap_remove(place);
            self.hub.remove_subscriber(&topic, &self.subscriber());
        }
    }

    /// Which device this is.
    pub fn device(&self) -> &DeviceId {
        self.connected.device()
    }

    /// Which of its connections this is.
    pub fn connection(&self) -> ConnectionId {
        self.connected.connection()
    }

    /// Where the device connected from, if the server says so: `serve` does, see
    /// [`Peer::address`](crate::serve::Peer).
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connected.peer
    }

    /// What the device proved itself with.
    pub fn authenticated_by(&self) -> AuthenticatedBy {
        self.connected.by
    }

    /// The way to the other devices.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn connected(&self) -> &Connected {
        &self.connected
    }

    fn subscriber(&self) -> Subscriber {
        Subscriber::Session(self.connected.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let topics = self.topics.get_mut().unwrap_or_else(PoisonError::into_inner);
        let subscriber = Subscriber::Session(self.connected.clone());
        for topic in topics.drain(..) {
            self.hub.remove_subscriber(&topic, &subscriber);
        }
        self.hub.leave(&self.connected);
    }
}
