//! What happens to the devices, for whoever wants to know as it happens: a bounded memory of events
//! that any number of readers follow at their own pace.

mod event;
mod log;
mod stream;

pub(crate) use event::{Event, Happened};
pub(crate) use log::{Bounds, EventLog, Feed, Filter, Item};
pub(crate) use stream::{Streams, Subscribe};

use fedecks_cloud::auth::{AccessChange, AccessChangeKind};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Records who is revoked, blocked and unblocked, by this server or by a command beside it.
pub(crate) async fn record_denials(mut denials: broadcast::Receiver<AccessChange>, log: EventLog) {
    loop {
        match denials.recv().await {
            Ok(AccessChange { device, what }) => {
                let happened = match what {
                    AccessChangeKind::Revoked => Happened::Revoked,
                    AccessChangeKind::Blocked => Happened::Blocked,
                    AccessChangeKind::Unblocked => Happened::Unblocked,
                };
                log.record(Event::now(&device, happened));
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "changes of devices were too many to be told as events");
            }
            Err(RecvError::Closed) => return,
        }
    }
}
