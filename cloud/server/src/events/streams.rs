//! How many event streams may be open, and when they end. What they send is made in `http/api`.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::log::{EventLog, Filter, Reader};
use crate::metrics::{MetricSource, MetricsWriter};

/// Opens event streams, up to a limit. Clones share the limit.
#[derive(Clone)]
pub(crate) struct Streams {
    log: EventLog,
    slots: Arc<Semaphore>,
    max: usize,
    stopping: watch::Receiver<bool>,
}

/// An open event stream. Dropping it makes room for another.
pub(crate) struct EventStream {
    pub(crate) reader: Reader,
    /// True once the server stops, which ends the stream.
    pub(crate) stopping: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
}

impl Streams {
    /// At most `max` are open at a time. All end once `stopping` is true.
    pub(crate) fn new(log: EventLog, max: usize, stopping: watch::Receiver<bool>) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { log, slots: Arc::new(Semaphore::new(max)), max, stopping }
    }

    /// Opens a stream from now on or, with the id of an event, from the one after it. `None` if too
    /// many are open.
    pub(crate) fn open(&self, after: Option<&str>, filter: Filter) -> Option<EventStream> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let reader = self.log.follow(after, filter);
        Some(EventStream { reader, stopping: self.stopping.clone(), _slot: slot })
    }
}

impl MetricSource for Streams {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> std::fmt::Result {
        let open = self.max.saturating_sub(self.slots.available_permits());
        to.gauge("event_streams", "Open event streams", open as u64)
    }
}
