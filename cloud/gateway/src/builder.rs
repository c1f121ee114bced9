//! Puts a cloud together: the handler, the keys, and what is optional.

use std::sync::Arc;

use fedecks_store::DeviceStore;

use crate::auth::denylist::Denylist;
use crate::auth::keyring::Keyring;
use crate::build_error::BuildError;
use crate::close_denied::CloseDenied;
use crate::connection::mailbox::Bounds;
use crate::context::GatewayContext;
use crate::fedecks::Fedecks;
use crate::handler::Handler;
use crate::messaging::backplane::Backplane;
use crate::messaging::backplane::in_process::InProcess;
use crate::messaging::hub::{Hub, HubOptions};
use crate::options::Options;
use crate::session::pace::Pace;

/// Puts a [`Fedecks`] together, see [`Fedecks::builder`].
pub struct Builder<H> {
    handler: H,
    keyring: Option<Keyring>,
    denylist: Option<Denylist>,
    store: Option<Arc<dyn DeviceStore>>,
    backplane: Option<Arc<dyn Backplane>>,
    options: Options,
}

impl<H: Handler> Fedecks<H> {
    /// Begins with what is yours. A [`Keyring`] and a [`Denylist`] have to be added.
    pub fn builder(handler: H) -> Builder<H> {
        Builder {
            handler,
            keyring: None,
            denylist: None,
            store: None,
            backplane: None,
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

    /// Where to note when devices were seen; nowhere if none is given.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn DeviceStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// What connects several nodes; one of its own where none is given.
    #[must_use]
    pub fn backplane(mut self, backplane: Arc<dyn Backplane>) -> Self {
        self.backplane = Some(backplane);
        self
    }

    /// Other numbers than the default ones.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Puts it together. Call it within a tokio runtime: a task that closes the sessions of revoked
    /// and blocked devices is started, and ends with the last clone of the hub.
    ///
    /// To notice what other processes revoke and block, run [`Denylist::watch`] beside it.
    pub fn build(self) -> Result<Fedecks<H>, BuildError> {
        let Self { handler, keyring, denylist, store, backplane, options } = self;
        let keyring = keyring.ok_or(BuildError::NoKeyring)?;
        let denylist = denylist.ok_or(BuildError::NoDenylist)?;
        options.check()?;
        let hub = Hub::new(
            HubOptions {
                max_frame: options.max_frame as usize,
                queue: Bounds { items: options.queue_messages, bytes: options.queue_bytes },
            },
            backplane.unwrap_or_else(|| Arc::new(InProcess::new())),
        );
        Ok(Fedecks(Arc::new(GatewayContext {
            handler,
            keyring,
            store,
            pace: Pace::new(&options),
            options,
            _close_denied: CloseDenied::spawn(denylist.clone(), hub.downgrade()),
            denylist,
            hub,
        })))
    }
}
