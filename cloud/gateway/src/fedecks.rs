//! The built cloud: a handle to its routes, hub, handler and denylist.

use std::sync::Arc;

use crate::auth::denylist::Denylist;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::messaging::hub::Hub;

/// A cloud for devices that runs your [`Handler`]. Clones share one cloud.
pub struct Fedecks<H>(pub(crate) Arc<GatewayContext<H>>);

impl<H: Handler> Fedecks<H> {
    /// The hub, which reaches the devices.
    pub fn hub(&self) -> Hub {
        self.0.hub.clone()
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.handler
    }

    /// The denylist, which revokes tokens and blocks devices.
    pub fn denylist(&self) -> &Denylist {
        &self.0.denylist
    }
}

impl<H> Clone for Fedecks<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
