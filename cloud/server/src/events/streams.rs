//! How many event streams may be open, of one API token and in all, and when they end. What they send is made
//! in `http/api`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::filter::Filter;
use super::log::EventLog;
use super::reader::Reader;
use crate::config::Events;
use crate::metrics::{MetricSource, MetricsWriter};

/// Opens event streams, up to limits. Clones share the limits.
#[derive(Clone)]
pub(crate) struct Streams {
    log: EventLog,
    slots: Arc<Slots>,
    stopping: watch::Receiver<bool>,
}

struct Slots {
    max: usize,
    max_of_token: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    /// By the name of the API token.
    of_token: HashMap<String, usize>,
}

/// An open event stream. Dropping it makes room for another.
pub(crate) struct EventStream {
    pub(crate) reader: Reader,
    /// True once the server stops, which ends the stream.
    pub(crate) stopping: watch::Receiver<bool>,
    _slot: Slot,
}

struct Slot {
    slots: Arc<Slots>,
    token: String,
}

/// Why a stream is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooManyStreams {
    #[error("{0} event streams are open, which is the limit `events.streams`")]
    InAll(usize),
    #[error(
        "this API token and its dashboard sessions have {0} open event streams, which is the limit \
         `events.streams_per_token`"
    )]
    OfToken(usize),
}

impl Streams {
    /// All streams end once `stopping` is true.
    pub(crate) fn new(log: EventLog, limits: &Events, stopping: watch::Receiver<bool>) -> Self {
        let (max, max_of_token) = (limits.streams, limits.streams_per_token);
        Self { log, slots: Arc::new(Slots { max, max_of_token, open: Mutex::default() }), stopping }
    }

    /// Opens a stream for the API token of this name, from now on or, with the id of an event, from the one
    /// after it.
    pub(crate) fn open(
        &self,
        token: &str,
        after: Option<&str>,
        filter: Filter,
    ) -> Result<EventStream, TooManyStreams> {
        let slot = self.slots.take(token)?;
        let reader = Reader::follow(&self.log, after, filter);
        Ok(EventStream { reader, stopping: self.stopping.clone(), _slot: slot })
    }
}

impl Slots {
    fn take(self: &Arc<Self>, token: &str) -> Result<Slot, TooManyStreams> {
        let mut open = self.open.lock();
        let of_token = open.of_token.get(token).copied().unwrap_or_default();
        if of_token >= self.max_of_token {
            return Err(TooManyStreams::OfToken(of_token));
        }
        if open.total >= self.max {
            return Err(TooManyStreams::InAll(open.total));
        }
        open.total += 1;
        open.of_token.insert(token.to_owned(), of_token + 1);
        Ok(Slot { slots: self.clone(), token: token.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock();
        open.total -= 1;
        if let Some(of_token) = open.of_token.get_mut(&self.token) {
            *of_token -= 1;
            if *of_token == 0 {
                open.of_token.remove(&self.token);
            }
        }
    }
}

impl MetricSource for Streams {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> std::fmt::Result {
        let open = self.slots.open.lock().total;
        to.gauge("event_streams", "Open event streams", open as u64)
    }
}
