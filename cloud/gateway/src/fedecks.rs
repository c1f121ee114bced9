//! A cloud that was put together, as the program around it holds it.

use std::sync::Arc;

use crate::auth::denylist::Denylist;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::messaging::hub::Hub;

/// A cloud for devices, made of your [`Handler`]. Clones are the same cloud.
pub struct Fedecks<H>(pub(crate) Arc<GatewayContext<H>>);

impl<H: Handler> Fedecks<H> {
    /// The way to the devices.
    pub fn hub(&self) -> Hub {
        self.0.hub.clone()
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.0.handler
    }

    /// Which tokens were revoked and which devices are blocked, and the way to change that.
    pub fn denylist(&self) -> &Denylist {
        &self.0.denylist
    }
}

impl<H> Clone for Fedecks<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
