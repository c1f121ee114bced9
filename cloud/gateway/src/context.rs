//! What all sessions of a cloud share.

use std::sync::Arc;

use fedecks_store::DeviceStore;

use crate::auth::denylist::Denylist;
use crate::auth::keyring::Keyring;
use crate::close_denied::CloseDenied;
use crate::messaging::hub::Hub;
use crate::options::Options;
use crate::session::pace::Pace;

/// What all sessions share.
pub(crate) struct GatewayContext<H> {
    pub(crate) handler: H,
    pub(crate) keyring: Keyring,
    pub(crate) denylist: Denylist,
    pub(crate) store: Option<Arc<dyn DeviceStore>>,
    pub(crate) options: Options,
    pub(crate) pace: Option<Pace>,
    pub(crate) hub: Hub,
    pub(crate) _close_denied: CloseDenied,
}
