//! Closes the sessions of devices that are revoked or blocked while they are connected.

use fedecks_protocol::DeviceId;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;

use crate::auth::denylist::Denylist;
use crate::messaging::hub::WeakHub;

/// The task that does it, until this is dropped.
pub(crate) struct CloseDenied(AbortHandle);

impl CloseDenied {
    pub(crate) fn spawn(denylist: Denylist, hub: WeakHub) -> Self {
        Self(tokio::spawn(close_denied(denylist, hub)).abort_handle())
    }
}

impl Drop for CloseDenied {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn close_denied(denylist: Denylist, hub: WeakHub) {
    let mut news = denylist.subscribe();
    loop {
        let told = news.recv().await;
        let Some(hub) = hub.upgrade() else {
            return;
        };
        let look_at = |device: &DeviceId| {
            let known = denylist.known(device);
            hub.revoked(device, known.generation);
            if known.blocked {
                hub.blocked(device);
            }
        };
        match told {
            Ok(denied) => look_at(&denied.device),
            Err(RecvError::Lagged(_)) => {
                hub.local().iter().for_each(|connected| look_at(connected.device()));
            }
            Err(RecvError::Closed) => return,
        }
    }
}
