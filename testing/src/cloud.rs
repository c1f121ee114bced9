//! The cloud library in this process, with any handler, and a record of what the handler did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::messaging::backplane::Backplane;
use fedecks_cloud::messaging::{Published, Subscription, TopicEvent};
use fedecks_cloud::serve::{Server, Tls};
use fedecks_cloud::store::{Clock, DeviceQueueStore, DeviceStore, MessageStore, SqliteStore};
use fedecks_cloud::{Denylist, Fedecks, Handler, Hub, Keyring, Listen, Options, serve};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::wait::{PATIENCE, within};
use crate::{SALT, SECRET};

/// A cloud whose handler records calls of type `C`. Dropping it closes the listener and leaves the
/// connections open.
pub struct Cloud<C> {
    /// Reaches its devices.
    pub hub: Hub,
    /// Revokes and blocks its devices.
    pub denylist: Denylist,
    /// In memory.
    pub store: Arc<dyn DeviceStore>,
    /// Where kept messages are stored.
    pub messages: Arc<dyn MessageStore>,
    /// Where messages for devices are kept.
    pub device_queue: Arc<dyn DeviceQueueStore>,
    /// Where it listens.
    pub address: SocketAddr,
    calls: UnboundedReceiver<C>,
    server: Option<Server>,
}

/// What a cloud may differ in.
pub struct CloudOptions {
    /// A free port of 127.0.0.1 by default.
    pub address: SocketAddr,
    /// None by default.
    pub tls: Option<Tls>,
    /// The options of the library.
    pub options: Options,
    /// Where devices are stored. A new one in memory by default.
    pub store: Option<Arc<SqliteStore>>,
    /// Where kept messages are stored. With the devices by default.
    pub messages: Option<Arc<dyn MessageStore>>,
    /// Where messages for devices are kept. With the devices by default.
    pub device_queue: Option<Arc<dyn DeviceQueueStore>>,
    /// A separate one by default.
    pub backplane: Option<Arc<dyn Backplane>>,
    /// [`keyring`] by default.
    pub keyring: Keyring,
    /// The system's by default.
    pub clock: Clock,
}

impl Default for CloudOptions {
    fn default() -> Self {
        Self {
            address: ([127, 0, 0, 1], 0).into(),
            tls: None,
            options: Options::default(),
            store: None,
            messages: None,
            device_queue: None,
            backplane: None,
            keyring: keyring(),
            clock: Clock::system(),
        }
    }
}

impl CloudOptions {
    /// Starts a cloud with the handler that `handler` makes out of the channel for its calls.
    pub async fn start<C, H: Handler>(
        self,
        handler: impl FnOnce(UnboundedSender<C>) -> H,
    ) -> Cloud<C> {
        let listen = Listen::plain(self.address).with(|it| it.tls = self.tls.clone());
        self.start_by(handler, |fedecks| {
            let listen = listen.with(|it| it.upgrades = Some(fedecks.upgrades()));
            let server = serve(fedecks.routes(), listen).unwrap();
            (server.addresses()[0], Some(server))
        })
        .await
    }

    /// The same behind an accept loop other than the library's.
    pub async fn start_by<C, H: Handler>(
        self,
        handler: impl FnOnce(UnboundedSender<C>) -> H,
        serve: impl FnOnce(&Fedecks<H>) -> (SocketAddr, Option<Server>),
    ) -> Cloud<C> {
        let new = || Arc::new(SqliteStore::in_memory().unwrap());
        let store = self.store.unwrap_or_else(new);
        let messages = self.messages.unwrap_or_else(|| store.clone());
        let device_queue = self.device_queue.unwrap_or_else(|| store.clone());
        let (sender, calls) = unbounded_channel();
        let mut builder = Fedecks::builder(handler(sender), self.keyring, store.clone())
            .messages(messages.clone())
            .device_queue(device_queue.clone())
            .clock(self.clock)
            .options(self.options);
        if let Some(backplane) = self.backplane {
            builder = builder.backplane(backplane);
        }
        let fedecks = builder.build().await.unwrap();
        let (address, server) = serve(&fedecks);
        let denylist = fedecks.denylist().clone();
        Cloud {
            hub: fedecks.hub(),
            denylist,
            store,
            messages,
            device_queue,
            address,
            calls,
            server,
        }
    }
}

impl<C> Cloud<C> {
    /// A cloud with all defaults.
    pub async fn start<H: Handler>(handler: impl FnOnce(UnboundedSender<C>) -> H) -> Self {
        CloudOptions::default().start(handler).await
    }

    /// A cloud at `address`.
    pub async fn start_at<H: Handler>(
        address: SocketAddr,
        handler: impl FnOnce(UnboundedSender<C>) -> H,
    ) -> Self {
        CloudOptions { address, ..CloudOptions::default() }.start(handler).await
    }

    /// The next call of the handler.
    pub async fn next(&mut self) -> C {
        within(self.calls.recv()).await.unwrap()
    }

    /// The next call of the handler that `wanted` maps to a value; skips others.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(C) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    /// The call that the handler has made and no one has read, if there is one.
    pub fn try_next(&mut self) -> Option<C> {
        self.calls.try_recv().ok()
    }

    /// Closes every connection, frees the port and returns the address.
    pub async fn stop(mut self) -> SocketAddr {
        if let Some(mut server) = self.server.take() {
            server.stop().await;
            self.hub.drain(usize::MAX, Duration::from_secs(1)).await;
            server.closed(PATIENCE).await;
        }
        self.address
    }
}

/// The next message of a subscription.
///
/// # Panics
///
/// If messages were missed.
pub async fn published(subscription: &mut Subscription) -> Published {
    match within(subscription.next()).await {
        Some(TopicEvent::Message(info)) => info,
        other => panic!("not a message but {other:?}"),
    }
}

/// What the clouds of the tests seal and open tokens with.
pub fn keyring() -> Keyring {
    Keyring::new(SECRET, SALT).unwrap()
}
