//! One connection of one device, as the handler sees it. Its task is in `run`.

pub(crate) mod alarms;
mod callback;
mod driver;
mod end;
pub(crate) mod error;
mod inbound;
mod log_span;
mod moment;
mod outbound;
pub(crate) mod run;
mod token_schedule;
pub(crate) mod traffic;

pub use error::{Disconnected, SessionError};

use std::net::SocketAddr;
use std::sync::Arc;

use fedecks_protocol::DeviceId;
use parking_lot::Mutex;
use serde::Serialize;

use crate::auth::device::{AuthenticatedBy, AuthenticatedDevice};
use crate::connection::mailbox::Item;
use crate::connection::registry::ConnectionHandle;
use crate::messaging::hub::{Hub, SendError};
use crate::messaging::message::Topic;
use crate::messaging::presence::ConnectionId;
use crate::messaging::topics::Subscriber;

/// One connection of one device, as the handler's callbacks see it.
///
/// ```
/// use fedecks_cloud::{Decision, Handler, Login, Session};
///
/// struct Announcements;
///
/// impl Handler for Announcements {
///     async fn authenticate(&self, _login: Login<'_>) -> Decision {
///         Decision::Accept
///     }
///
///     async fn on_connect(&self, session: &Session) {
///         session.subscribe("announcements");
///         if let Err(error) = session.send("welcome") {
///             eprintln!("{}: {error}", session.device());
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Session {
    hub: Hub,
    connection: Arc<ConnectionHandle>,
    /// `None` if there are none. Boxed, as a vector would be three times as big in every session.
    topics: Mutex<Option<Box<Topics>>>,
}

/// The topics that a session has subscribed to.
#[derive(Debug, Default)]
struct Topics(Vec<Topic>);

impl Session {
    /// Registers a session with the hub until it is dropped.
    pub(crate) async fn register(hub: Hub, device: AuthenticatedDevice) -> Self {
        let connection = hub.register(device).await;
        Self { hub, connection, topics: Mutex::default() }
    }

    /// Subscribes the handler's [`on_published`](crate::Handler::on_published) to a topic, until the session
    /// ends.
    pub fn subscribe(&self, topic: impl Into<Topic>) {
        let topic = topic.into();
        let mut topics = self.topics.lock();
        let Topics(topics) = &mut **topics.get_or_insert_default();
        if !topics.contains(&topic) {
            self.hub.add_subscriber(&topic, self.subscriber());
            topics.reserve_exact(1);
            topics.push(topic);
        }
    }

    /// Unsubscribes from a topic. Messages that were published before may still arrive.
    pub fn unsubscribe(&self, topic: impl Into<Topic>) {
        let topic = topic.into();
        let mut subscribed = self.topics.lock();
        let Some(topics) = subscribed.as_mut().map(|topics| &mut topics.0) else { return };
        if let Some(index) = topics.iter().position(|subscribed| *subscribed == topic) {
            topics.swap_remove(index);
            if topics.is_empty() {
                *subscribed = None;
            }
            self.hub.remove_subscriber(&topic, &self.subscriber());
        }
    }

    /// Sends any serializable value to the device, like [`Hub::send`] but on this connection only. What is sent
    /// while a callback runs leaves after it.
    pub fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), SendError> {
        self.hub.send_on(&self.connection, value)
    }

    /// The device.
    pub fn device(&self) -> &DeviceId {
        self.connection.device()
    }

    /// The id of this connection of the device.
    pub fn connection(&self) -> ConnectionId {
        self.connection.id()
    }

    /// The device's address, if the accept loop provides it as `serve` does, see
    /// [`Peer::address`](crate::serve::Peer).
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.peer
    }

    /// How the device was authenticated.
    pub fn authenticated_by(&self) -> AuthenticatedBy {
        self.connection.authenticated_by
    }

    /// The SHA-256 of the public key of the client certificate that the device has presented, if it has.
    pub fn certificate_key(&self) -> Option<[u8; 32]> {
        self.hub.certificate_key(self.connection())
    }

    /// The hub, which reaches the other devices.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn connection_handle(&self) -> &ConnectionHandle {
        &self.connection
    }

    /// Accepts nothing more for the device, and returns what waits for it.
    fn close_mailbox(&self) -> Vec<Item> {
        self.hub.close_mailbox(&self.connection)
    }

    fn subscriber(&self) -> Subscriber {
        Subscriber::Session(self.connection.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let subscriber = self.subscriber();
        let topics = self.topics.get_mut().take();
        for topic in topics.into_iter().flat_map(|topics| topics.0) {
            self.hub.remove_subscriber(&topic, &subscriber);
        }
        self.hub.unregister(&self.connection);
    }
}
