//! How many messages are kept on disk.

use fedecks_delivery::Sender;
use fedecks_protocol::{Content, Lane, StreamId};

use super::{DiskQueue, DiskStream};
use crate::queue_job::DiskQueueStatus;

impl DiskQueue {
    pub(in super::super) fn status(&self, sender: &Sender<Content>) -> DiskQueueStatus {
        let lanes = Lane::ALL.into_iter().map(|lane| self.waiting(sender, lane));
        DiskQueueStatus {
            messages: lanes.fold(0, u64::saturating_add),
            bytes: self.usage.bytes,
            damaged: self.damaged,
            error: self.error.clone().or_else(|| self.load_error.clone()),
        }
    }

    /// The number of messages of a lane that are not acknowledged.
    pub(in super::super) fn waiting(&self, sender: &Sender<Content>, lane: Lane) -> u64 {
        let of = |it: &DiskStream| {
            let window = sender.window(it.id)?;
            let unloaded = window.unloaded().saturating_sub(it.voids);
            Some(window.waiting.messages.saturating_add(unloaded))
        };
        let open = self.streams.iter().filter(|it| it.lane == lane).filter_map(of);
        let later = self.later.iter().filter(|it| it.lane == lane).map(|it| it.messages);
        open.chain(later).fold(0, u64::saturating_add)
    }

    /// The streams of a lane that are open.
    pub(in super::super) fn streams_of(&self, lane: Lane) -> impl Iterator<Item = StreamId> {
        self.streams.iter().filter(move |it| it.lane == lane).map(|it| it.id)
    }
}
