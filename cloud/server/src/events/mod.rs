//! What happens to the devices, as it happens: a bounded log of events that any number of readers
//! follow at their own pace. How event streams and webhooks deliver events is not here.

mod entry;
mod event;
mod filter;
mod json;
mod log;
mod reader;
mod streams;

pub(crate) use entry::LogEntry;
pub(crate) use event::{Assurance, Event, EventPayload, Kept};
pub(crate) use filter::Filter;
pub(crate) use log::{Bounds, EventLog};
pub(crate) use reader::{Item, Reader};
pub(crate) use streams::{EventStream, Streams, TooManyStreams};

use fedecks_cloud::auth::{AccessChange, AccessChangeKind, AccessChanges, AccessEvent};

/// Records which devices are revoked, blocked and unblocked, by this server or by a command line next
/// to it.
pub(crate) async fn record_access_changes(mut changes: AccessChanges, log: EventLog) {
    while let Some(event) = changes.next().await {
        match event {
            AccessEvent::Changed(AccessChange { device, kind, .. }) => {
                let payload = match kind {
                    AccessChangeKind::Revoked => EventPayload::Revoked,
                    AccessChangeKind::Blocked => EventPayload::Blocked,
                    AccessChangeKind::Unblocked => EventPayload::Unblocked,
                    _ => continue,
                };
                log.record(Event::now(&device, payload));
            }
            AccessEvent::Missed { count: missed } => {
                tracing::warn!(
                    missed,
                    "too many access changes at once, some are not in the event log"
                );
            }
            _ => {}
        }
    }
}
