//! Closes the sessions of devices that are revoked or blocked while they are connected.

use fedecks_protocol::CloseCode;
use tokio::task::AbortHandle;

use crate::auth::AccessEvent;
use crate::auth::denylist::Denylist;
use crate::connection::registry::ConnectionHandle;
use crate::messaging::hub::WeakHub;

/// A task that closes these sessions; stopped on drop.
pub(crate) struct AccessEnforcer(AbortHandle);

impl AccessEnforcer {
    pub(crate) fn spawn(denylist: Denylist, hub: WeakHub) -> Self {
        Self(tokio::spawn(run(denylist, hub)).abort_handle())
    }
}

impl Drop for AccessEnforcer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(denylist: Denylist, hub: WeakHub) {
    let mut changes = denylist.subscribe();
    while let Some(event) = changes.next().await {
        let Some(hub) = hub.upgrade() else { return };
        match event {
            AccessEvent::Changed(change) => {
                if let Some(connection) = hub.local(&change.device) {
                    close_if_denied(&denylist, &connection);
                }
            }
            AccessEvent::Missed { .. } => {
                hub.registry()
                    .all()
                    .iter()
                    .for_each(|connection| close_if_denied(&denylist, connection));
            }
        }
    }
}

/// Closes a connection whose device is revoked or blocked.
pub(crate) fn close_if_denied(denylist: &Denylist, connection: &ConnectionHandle) {
    let access = denylist.access(connection.device());
    if connection.generation < access.generation {
        connection.close(CloseCode::Revoked);
    }
    if access.blocked {
        connection.close(CloseCode::Blocked);
    }
}
