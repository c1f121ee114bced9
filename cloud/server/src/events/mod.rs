//! What happens to the devices, as it happens: a bounded log of events that any number of readers
//! follow at their own pace. How event streams and webhooks deliver events is not here.

mod entry;
mod event;
mod filter;
mod fleet;
mod json;
mod log;
mod lost_devices;
mod reader;
mod streams;

pub(crate) use entry::LogEntry;
pub(crate) use event::{Assurance, Event, EventPayload, Kept};
pub(crate) use filter::Filter;
pub(crate) use fleet::SharedEvents;
pub(crate) use log::{Bounds, EventLog};
pub(crate) use lost_devices::LostDevices;
pub(crate) use reader::{Item, Reader};
pub(crate) use streams::{EventStream, Streams, TooManyStreams};

use entry::Reach;
use fedecks_cloud::auth::{AccessChange, AccessChangeKind, AccessChanges, AccessEvent};

use crate::cluster::Leadership;

/// Records which devices are revoked, blocked and unblocked, by this server, another one or a command line. Every
/// server learns of each change and records it itself; the one that leads passes it to webhooks.
pub(crate) async fn record_access_changes(
    mut changes: AccessChanges,
    log: EventLog,
    leads: Leadership,
) {
    while let Some(event) = changes.next().await {
        match event {
            AccessEvent::Changed(AccessChange { device, kind, .. }) => {
                let payload = match kind {
                    AccessChangeKind::Revoked => EventPayload::Revoked,
                    AccessChangeKind::Blocked => EventPayload::Blocked,
                    AccessChangeKind::Unblocked => EventPayload::Unblocked,
                    _ => continue,
                };
                let reach = if leads.is_held() { Reach::Webhooks } else { Reach::Streams };
                log.record_for(Event::now(&device, payload), reach);
            }
            AccessEvent::Missed { count: missed } => {
                tracing::warn!(
                    missed,
                    "too many access changes at once, some are not in the event log"
                );
                log.record_gap();
            }
            _ => {}
        }
    }
}
