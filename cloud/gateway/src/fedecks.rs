//! The built cloud: a handle to its routes, hub, handler and denylist.

use std::sync::Arc;

use crate::auth::denylist::Denylist;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::messaging::hub::Hub;

/// A cloud for devices that runs your [`Handler`]. Clones share one cloud.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use fedecks_cloud::store::SqliteStore;
/// use fedecks_cloud::{Fedecks, Handler, Keyring, Listen, serve};
/// use warp::Filter;
///
/// # async fn example(handler: impl Handler, keyring: Keyring) -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(SqliteStore::open("fedecks.sqlite")?);
/// let fedecks = Fedecks::builder(handler, keyring, store).build().await?;
/// let health = warp::path("health").map(|| "fine");
/// let server = serve(health.or(fedecks.routes()), Listen::plain("127.0.0.1:8080".parse()?))?;
/// # drop(server);
/// # Ok(()) }
/// ```
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
