//! Builds a cloud from a handler, keys and what is optional.

use std::sync::{Arc, Weak};

use fedecks_common::RateLimit;
use fedecks_store::{Clock, DeviceQueueStore, DeviceStore, MessageStore};
use tokio::time::Instant;

use crate::access_enforcer::AccessEnforcer;
use crate::auth::certificate::{CertificateRules, Certificates};
use crate::auth::denylist::Denylist;
use crate::auth::keyring::Keyring;
use crate::build_error::BuildError;
use crate::byte_pool::BytePool;
use crate::connection::mailbox::Bounds;
use crate::context::GatewayContext;
use crate::fedecks::Fedecks;
use crate::handler::Handler;
use crate::messaging::backplane::Backplane;
use crate::messaging::backplane::in_process::InProcess;
use crate::messaging::down::DeviceQueue;
use crate::messaging::hub::{Hub, HubOptions};
use crate::messaging::kept::KeptMessages;
use crate::messaging::kept::failures::Failures;
use crate::messaging::kept::rejections::Rejections;
use crate::messaging::presence::NodeId;
use crate::options::Options;
use crate::session::alarms::Alarms;
use crate::session::traffic::TrafficLimits;

/// Builds a [`Fedecks`], see [`Fedecks::builder`].
///
/// ```no_run
/// use std::sync::{Arc, Weak};
/// use std::time::Duration;
///
/// use fedecks_cloud::store::DeviceStore;
/// use fedecks_cloud::{BuildError, Fedecks, Handler, Keyring, Options};
///
/// # async fn example<H: Handler>(
/// #     handler: H,
/// #     keyring: Keyring,
/// #     store: Arc<dyn DeviceStore>,
/// # ) -> Result<Fedecks<H>, BuildError> {
/// let options = Options::default().with(|it| it.idle_timeout = Duration::from_secs(90));
/// let fedecks = Fedecks::builder(handler, keyring, store).options(options).build().await?;
/// # Ok(fedecks) }
/// ```
pub struct Builder<H> {
    handler: H,
    keyring: Keyring,
    store: Arc<dyn DeviceStore>,
    messages: Option<Arc<dyn MessageStore>>,
    device_queue: Option<Arc<dyn DeviceQueueStore>>,
    denylist: Option<Denylist>,
    backplane: Option<Arc<dyn Backplane>>,
    node: Option<NodeId>,
    clock: Clock,
    options: Options,
    certificates: Certificates,
}

impl<H: Handler> Fedecks<H> {
    /// A builder for a cloud with this handler. `keyring` has the keys that seal and open tokens. `store` knows
    /// which tokens are revoked and which devices are blocked, and records when each device was seen.
    pub fn builder(handler: H, keyring: Keyring, store: Arc<dyn DeviceStore>) -> Builder<H> {
        Builder {
            handler,
            keyring,
            store,
            messages: None,
            device_queue: None,
            denylist: None,
            backplane: None,
            node: None,
            clock: Clock::system(),
            options: Options::default(),
            certificates: Certificates::default(),
        }
    }
}

impl<H: Handler> Builder<H> {
    /// The denylist, for a program that needs it earlier than [`Fedecks::denylist`] returns it. By default it is
    /// loaded from the store.
    #[must_use]
    pub fn denylist(mut self, denylist: Denylist) -> Self {
        self.denylist = Some(denylist);
        self
    }

    /// Where the positions of devices are stored, and what their kept messages effect. Without it the cloud offers no
    /// kept messages, and devices send at most once.
    #[must_use]
    pub fn messages(mut self, store: Arc<dyn MessageStore>) -> Self {
        self.messages = Some(store);
        self
    }

    /// Where messages are kept for devices, see [`Hub::send_kept`](crate::Hub::send_kept). Without it there are none.
    ///
    /// The library does not look for what expires while its device is away: call
    /// [`expire_messages`](DeviceQueueStore::expire_messages) from time to time, and tell
    /// [`Hub::settled`](crate::Hub::settled) what it returns.
    #[must_use]
    pub fn device_queue(mut self, store: Arc<dyn DeviceQueueStore>) -> Self {
        self.device_queue = Some(store);
        self
    }

    /// The backplane that connects several nodes. By default there is one node.
    #[must_use]
    pub fn backplane(mut self, backplane: Arc<dyn Backplane>) -> Self {
        self.backplane = Some(backplane);
        self
    }

    /// The id of this node on the backplane, which no other node has or had there, such as one that the store gives to
    /// each start of a program. Random by default.
    #[must_use]
    pub fn node(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// The clock that tokens are sealed and judged by. By default it is the system's, with the build time
    /// as its floor. While it is below its floor, every device is refused as `unavailable`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How client certificates count at a listener, by its [index](crate::serve::Peer::listener). Without it, and at
    /// all others, their common name has to be the device id, and they are checked besides a token or credentials.
    #[must_use]
    pub fn certificates(mut self, listener: usize, rules: CertificateRules) -> Self {
        self.certificates.set(listener, rules);
        self
    }

    /// Options other than the defaults.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Builds the cloud. Must be called within a tokio runtime: it loads the denylist and starts a task that closes
    /// the sessions of revoked and blocked devices, and one with the timer of all sessions, which end with the last clone
    /// of the hub. What other processes
    /// revoke and block in the same store counts as well, within a second.
    pub async fn build(self) -> Result<Fedecks<H>, BuildError> {
        let Self { handler, keyring, store, messages, denylist, .. } = self;
        let Self { device_queue, backplane, node, clock, options, certificates, .. } = self;
        options.check()?;
        let denylist = match denylist {
            Some(denylist) => denylist,
            None => Denylist::load(store.clone()).await?,
        };
        let kept = match messages {
            Some(store) => {
                let installation = store.installation().await?;
                let (failures, rejections) = (Failures::default(), Rejections::default());
                Some(KeptMessages { store, installation, failures, rejections })
            }
            None => None,
        };
        let traffic = TrafficLimits {
            messages: RateLimit::per_second(options.messages_per_second, options.message_burst),
            bytes: RateLimit::per_second(options.bytes_per_second, options.byte_burst),
            max_frame: options.max_frame,
            incoming: Arc::new(BytePool::new(options.received_bytes)),
            outgoing: Arc::new(BytePool::new(options.queued_bytes)),
            started: Instant::now(),
        };
        let hub = Hub::new(
            node.unwrap_or_else(|| NodeId(rand::random())),
            HubOptions {
                limits: options.limits_down(),
                queue: Bounds { items: options.queue_messages, bytes: options.queue_bytes },
                incoming: traffic.incoming.clone(),
                outgoing: traffic.outgoing.clone(),
                device_queue: device_queue.map(|store| DeviceQueue::new(store, clock.clone())),
            },
            backplane.unwrap_or_else(|| Arc::new(InProcess::new())),
        );
        let context = Arc::new(GatewayContext {
            handler,
            keyring,
            store,
            kept,
            alarms: Alarms::spawn(traffic.started),
            traffic,
            options,
            clock,
            _access_enforcer: AccessEnforcer::spawn(denylist.clone(), hub.downgrade()),
            denylist,
            certificates,
            hub,
        });
        if let Some(queue) = context.hub.device_queue() {
            let observer: Weak<GatewayContext<H>> = Arc::downgrade(&context);
            queue.observe(observer);
        }
        Ok(Fedecks(context))
    }
}
