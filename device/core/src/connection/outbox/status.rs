//! How many kept messages wait for the cloud, in which lane and where.

use fedecks_protocol::{Lane, StreamId};

use super::Outbox;
use crate::kept::{LaneQueueStatus, OVERHEAD, QueueStatus};

impl Outbox {
    pub(in super::super) fn status(&self) -> QueueStatus {
        let [normal, urgent] = [Lane::Normal, Lane::Urgent].map(|lane| self.lane_status(lane));
        let sum = |of: fn(&LaneQueueStatus) -> u64| of(&normal).saturating_add(of(&urgent));
        QueueStatus {
            messages: sum(|lane| lane.in_memory.saturating_add(lane.on_disk)),
            bytes: sum(|lane| lane.bytes),
            lost: self.lost,
            normal,
            urgent,
        }
    }

    fn lane_status(&self, lane: Lane) -> LaneQueueStatus {
        let mut status = LaneQueueStatus::default();
        let streams = self.streams.iter().filter(|(of, _)| *of == lane).map(|(_, stream)| *stream);
        for stream in streams.clone() {
            let Some(window) = self.sender.window(stream) else { continue };
            status.in_memory += window.waiting.messages;
            status.bytes += window.waiting.bytes + window.waiting.messages * OVERHEAD;
        }
        let accepted_at = |stream: StreamId| self.sender.oldest(stream)?.sent_at_ms;
        status.oldest_at_ms = streams.filter_map(accepted_at).min();
        if let Some(disk) = &self.disk {
            status.on_disk = disk.waiting(&self.sender, lane);
            let on_disk = disk.streams_of(lane).filter_map(accepted_at).min();
            status.oldest_at_ms = status.oldest_at_ms.into_iter().chain(on_disk).min();
        }
        status
    }
}
