//! Builds a cloud from a handler, keys and what is optional.

use std::sync::Arc;

use fedecks_common::RateLimit;
use fedecks_store::{Clock, DeviceStore};
use tokio::time::Instant;

use crate::access_enforcer::AccessEnforcer;
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
use crate::messaging::hub::{Hub, HubOptions};
use crate::options::Options;
use crate::session::traffic::TrafficLimits;

/// Builds a [`Fedecks`], see [`Fedecks::builder`].
pub struct Builder<H> {
    handler: H,
    keyring: Option<Keyring>,
    denylist: Option<Denylist>,
    store: Option<Arc<dyn DeviceStore>>,
    backplane: Option<Arc<dyn Backplane>>,
    clock: Clock,
    options: Options,
}

impl<H: Handler> Fedecks<H> {
    /// A builder for a cloud with this handler. A [`Keyring`] and a [`Denylist`] are required.
    pub fn builder(handler: H) -> Builder<H> {
        Builder {
            handler,
            keyring: None,
            denylist: None,
            store: None,
            backplane: None,
            clock: Clock::system(),
            options: Options::default(),
        }
    }
}

impl<H: Handler> Builder<H> {
    /// The keys that seal and open tokens. Required.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Which tokens were revoked and which devices are blocked. Required.
    #[must_use]
    pub fn denylist(mut self, denylist: Denylist) -> Self {
        self.denylist = Some(denylist);
        self
    }

    /// The store that records when devices were seen. Optional.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn DeviceStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The backplane that connects several nodes. By default there is one node.
    #[must_use]
    pub fn backplane(mut self, backplane: Arc<dyn Backplane>) -> Self {
        self.backplane = Some(backplane);
        self
    }

    /// The clock that tokens are sealed and judged by. By default it is the system's, with the build time
    /// as its floor. While it is below its floor, every device is refused as `unavailable`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Options other than the defaults.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Builds the cloud. Must be called within a tokio runtime: it starts a task that closes the sessions
    /// of revoked and blocked devices, which ends with the last clone of the hub.
    ///
    /// To notice what other processes revoke and block, run [`Denylist::watch`] as well.
    pub fn build(self) -> Result<Fedecks<H>, BuildError> {
        let Self { handler, keyring, denylist, store, backplane, clock, options } = self;
        let keyring = keyring.ok_or(BuildError::NoKeyring)?;
        let denylist = denylist.ok_or(BuildError::NoDenylist)?;
        options.check()?;
        let traffic = TrafficLimits {
            messages: RateLimit::per_second(options.messages_per_second, options.message_burst),
            bytes: RateLimit::per_second(options.bytes_per_second, options.byte_burst),
            max_frame: options.max_frame,
            incoming: Arc::new(BytePool::new(options.received_bytes)),
            outgoing: Arc::new(BytePool::new(options.queued_bytes)),
            started: Instant::now(),
        };
        let hub = Hub::new(
            HubOptions {
                limits: options.limits_down(),
                queue: Bounds { items: options.queue_messages, bytes: options.queue_bytes },
                incoming: traffic.incoming.clone(),
                outgoing: traffic.outgoing.clone(),
            },
            backplane.unwrap_or_else(|| Arc::new(InProcess::new())),
        );
        Ok(Fedecks(Arc::new(GatewayContext {
            handler,
            keyring,
            store,
            traffic,
            options,
            clock,
            _access_enforcer: AccessEnforcer::spawn(denylist.clone(), hub.downgrade()),
            denylist,
            hub,
        })))
    }
}
