//! The messages of the outbox that are kept on disk.

use fedecks_protocol::{Lane, SkipReason, StreamId};

use super::{Accepted, Outbox};
use crate::action::{Action, Notice};
use crate::config::Config;
use crate::connection::disk::{Circumstances, DiskQueue};
use crate::connection::output::Output;
use crate::kept::{KeepError, KeepId, OVERHEAD};
use crate::queue_job::{DiskQueueStatus, QueueDone, QueuedMessage};
use crate::time::Time;
use crate::timers::Timer;

impl Outbox {
    /// Takes a message that is to be on disk. The answer follows when it is, or when the cloud has it.
    pub(super) fn accept_on_disk(
        &mut self,
        now: Time,
        id: KeepId,
        (lane, sync): (Lane, bool),
        kept: Accepted,
        out: &mut Output,
    ) -> Result<(), KeepError> {
        let Accepted { content, sent_at_ms, expires_in } = kept;
        let (tag, fresh) = (self.new_tag(), self.new_stream());
        let disk = self.disk.as_mut().ok_or(KeepError::NoDisk)?;
        disk.check_room(lane, content.size() as u64 + OVERHEAD)?;
        let stream = match disk.current(lane) {
            Some(stream) => stream,
            None => {
                if !self.sender.open_stored(lane, fresh) {
                    return Err(KeepError::NoDisk);
                }
                disk.begin(lane, fresh);
                fresh
            }
        };
        let newest = self.sender.window(stream).map_or(0, |window| window.newest);
        let millis = u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX);
        let message = QueuedMessage {
            stream,
            lane,
            sequence: newest.saturating_add(1),
            tag,
            accepted: now,
            sent_at_ms,
            expires_at: now + expires_in,
            expires_at_ms: sent_at_ms.map(|at| at.saturating_add(millis)),
            content,
        };
        DiskQueue::admit(&mut self.sender, &message);
        let expires_at = Some(message.expires_at.since_start());
        disk.push(id, message, sync);
        self.arm(now, expires_at, out);
        self.pump(now, out);
        Ok(())
    }

    /// Acknowledges on disk what is acknowledged in a stream, and ends streams of earlier starts that are done.
    pub(super) fn on_disk_acknowledged(&mut self, now: Time, stream: StreamId, out: &mut Output) {
        let Some(disk) = &mut self.disk else { return };
        if let Some(window) = self.sender.window(stream) {
            disk.on_acknowledged(stream, window.first.saturating_sub(1), out);
        }
        let of_lanes = Lane::ALL.into_iter().filter_map(|lane| disk.current(lane));
        let of_memory = self.streams.iter().map(|(_, stream)| *stream);
        let open: Vec<StreamId> = of_lanes.chain(of_memory).collect();
        for (stream, close) in self.sender.close_finished(&open) {
            disk.finish(stream, close);
        }
        self.pump(now, out);
    }

    pub(in super::super) fn on_queue_timer(&mut self, now: Time, out: &mut Output) {
        if let Some(disk) = &mut self.disk {
            disk.on_timer(now, out);
            self.pump(now, out);
        }
    }

    pub(in super::super) fn on_queue_done(
        &mut self,
        now: Time,
        done: QueueDone,
        config: &Config,
        out: &mut Output,
    ) {
        let Some(disk) = &mut self.disk else { return };
        let after = disk.on_done(now, done, config, &mut self.sender, out);
        self.closing.extend(after.close);
        disk.open_found(&mut self.sender);
        self.lost = self.lost.saturating_add(after.lost);
        self.settle_lost(after.settled, out);
        match (self.installation, after.installation) {
            (Some(known), Some(found)) if known != found => self.abandon_found(out),
            (None, found) => self.installation = found,
            (Some(_), _) => {}
        }
        // What was read may have expired.
        self.expire(now, out);
        self.pump(now, out);
    }

    pub(in super::super) fn shut_down(&mut self, out: &mut Output) {
        if let Some(disk) = &mut self.disk {
            disk.shut_down();
            self.pump(Time::default(), out);
            if let Some(disk) = &mut self.disk {
                disk.end_if_done(out);
            }
        }
    }

    pub(in super::super) fn disk_status(&self) -> Option<DiskQueueStatus> {
        self.disk.as_ref().map(|disk| disk.status(&self.sender))
    }

    /// Everything on disk is for another installation. Returns how many messages are lost that were not in memory.
    pub(super) fn abandon_disk(&mut self, out: &mut Output) -> u64 {
        let Some(disk) = &mut self.disk else { return 0 };
        let (lost, tags) = disk.abandon(&self.sender);
        let told = tags.len() as u64;
        let reason = SkipReason::OtherCloud;
        let settled = tags.into_iter().map(|tag| (tag, fedecks_delivery::Settled::Voided(reason)));
        self.settle_lost(settled.collect(), out);
        self.lost = self.lost.saturating_add(lost.saturating_sub(told));
        lost
    }

    /// What earlier starts left on disk is for another installation than the one that is connected.
    fn abandon_found(&mut self, out: &mut Output) {
        let Some(disk) = &mut self.disk else { return };
        let dropped = disk.abandon_found(&mut self.sender);
        self.lost = self.lost.saturating_add(dropped);
        if dropped > 0 {
            out.push(Action::Log(Notice::OtherCloud { dropped }));
        }
    }

    /// Has the next job decided at once.
    pub(super) fn wake(&self, out: &mut Output) {
        if self.disk.is_some() {
            out.timers.set(Timer::Queue, Time::default());
        }
    }

    fn pump(&mut self, now: Time, out: &mut Output) {
        let (is_connected, installation) = (self.is_connected, self.installation);
        if let Some(disk) = &mut self.disk {
            disk.pump(Circumstances { now, is_connected, installation }, &mut self.sender, out);
        }
    }
}
