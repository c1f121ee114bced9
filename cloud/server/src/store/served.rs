//! The store of a running server, as each of its parts knows it.

use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::accounts::AccountHandler;
use fedecks_store::{
    AccountStore, ApiTokenStore, AuditStore, BoxFuture, ClaimStore, ConsumerStore,
    DeviceQueueStore, DeviceStore, KnownLoginStore, MessageStore, NodeStore, QueueStore,
    RegistrationStore, SqliteStore, Store, StoreMonitor,
};

use super::open::OpenStore;

/// One store, as an object of each trait: what needs one kind of record takes its trait.
pub(crate) struct ServedStore {
    pub(crate) all: Arc<dyn Store>,
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) devices: Arc<dyn DeviceStore>,
    pub(crate) claims: Arc<dyn ClaimStore>,
    pub(crate) registrations: Arc<dyn RegistrationStore>,
    pub(crate) api_tokens: Arc<dyn ApiTokenStore>,
    pub(crate) known_logins: Arc<dyn KnownLoginStore>,
    pub(crate) audit: Arc<dyn AuditStore>,
    pub(crate) queues: Arc<dyn QueueStore>,
    pub(crate) messages: Arc<dyn MessageStore>,
    pub(crate) consumers: Arc<dyn ConsumerStore>,
    pub(crate) device_queue: Arc<dyn DeviceQueueStore>,
    pub(crate) monitor: Arc<dyn StoreMonitor>,
    /// The servers of the database, if it is one.
    pub(crate) nodes: Option<Arc<dyn NodeStore>>,
    /// For the logins of devices.
    pub(crate) handler: AccountHandler,
    pub(crate) closing: Closing,
}

/// Closes a store when the server stops, however far its start was.
#[derive(Clone)]
pub(crate) struct Closing {
    close: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// How long that may take.
    pub(crate) time: Duration,
}

impl Closing {
    /// Writes the notes and ends the lease, if that has to be waited for, but not for longer than this. Does nothing if that
    /// is done.
    pub(crate) async fn close(&self, limit: Duration) {
        if tokio::time::timeout(self.time.min(limit), (self.close)()).await.is_err() {
            tracing::warn!("the store may lack its last notes");
        }
    }
}

impl ServedStore {
    pub(super) fn new(store: OpenStore) -> Self {
        match store {
            // Dropping it waits for its notes.
            OpenStore::File(store) => {
                let closing =
                    Closing { close: Arc::new(|| Box::pin(async {})), time: Duration::ZERO };
                Self::of::<SqliteStore>(store.into(), closing)
            }
            #[cfg(feature = "postgres")]
            OpenStore::Database(store) => {
                let store = Arc::new(store);
                let closed = store.clone();
                let nodes: Arc<dyn NodeStore> = store.clone();
                let close = move || -> BoxFuture<'static, ()> {
                    let closed = closed.clone();
                    Box::pin(async move { closed.close().await })
                };
                let time = fedecks_store::PostgresStore::CLOSE_TIME;
                let served = Self::of(store, Closing { close: Arc::new(close), time });
                Self { nodes: Some(nodes), ..served }
            }
        }
    }

    fn of<S: Store>(store: Arc<S>, closing: Closing) -> Self {
        Self {
            all: store.clone(),
            accounts: store.clone(),
            devices: store.clone(),
            claims: store.clone(),
            registrations: store.clone(),
            api_tokens: store.clone(),
            known_logins: store.clone(),
            audit: store.clone(),
            queues: store.clone(),
            messages: store.clone(),
            consumers: store.clone(),
            device_queue: store.clone(),
            monitor: store.clone(),
            nodes: None,
            handler: AccountHandler::new(store),
            closing,
        }
    }
}
