//! What a job did with the disk, and what follows from it.

use fedecks_delivery::{Sender, Settled};
use fedecks_protocol::{Content, InstallationId, StreamId, Tag};

use super::DiskQueue;
use crate::action::{Action, Notice};
use crate::config::Config;
use crate::connection::output::Output;
use crate::queue_job::{QueueDone, QueueOpened, QueuedMessage};
use crate::time::Time;

/// What the outbox has to do after a job.
#[derive(Debug, Default)]
pub(in super::super) struct AfterJob {
    /// The installation that what was found is for.
    pub(in super::super) installation: Option<InstallationId>,
    /// Messages that were given up.
    pub(in super::super) settled: Vec<(Tag, Settled)>,
    /// Streams to close.
    pub(in super::super) close: Vec<u64>,
    /// How many more were lost, whose outcome no caller in this process waits for.
    pub(in super::super) lost: u64,
}

/// What cannot be read is tried again after this.
const READ_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

impl DiskQueue {
    pub(in super::super) fn on_done(
        &mut self,
        now: Time,
        done: QueueDone,
        config: &Config,
        sender: &mut Sender<Content>,
        out: &mut Output,
    ) -> AfterJob {
        let mut after = AfterJob::default();
        (self.is_running, self.running_since) = (false, None);
        self.usage = done.usage;
        let loading = self.loading.take();
        // What is in memory may be another window by now.
        let is_next = |(stream, after): &(StreamId, u64)| {
            sender.window(*stream).is_some_and(|window| window.end == after.saturating_add(1))
        };
        let loading = loading.filter(is_next).map(|(stream, _)| stream);
        after.close = self.closing.drain(..).map(|(_, handle)| handle).collect();
        let was_opened = done.opened.is_some();
        if let Some(opened) = done.opened {
            self.on_opened(opened, &mut after, out);
        }
        for lost in done.lost {
            let reason = Settled::Voided(lost.reason);
            if let Some(it) = self.streams.iter_mut().find(|it| it.id == lost.stream) {
                it.voids = it.voids.saturating_add(lost.count);
            }
            after.lost += lost.count.saturating_sub(lost.tags.len() as u64);
            after.settled.extend(lost.tags.into_iter().map(|tag| (tag, reason)));
        }
        self.take_back(done.returned);
        let is_flushed = matches!(done.flushed, Some(Ok(())));
        if is_flushed {
            self.last_flush = Some(now);
            let written: Vec<_> = self.streams.iter().map(|it| (it.id, it.handed_to)).collect();
            written.into_iter().for_each(|(stream, up_to)| self.answer_up_to(stream, up_to, out));
        }
        let error = done.flushed.and_then(Result::err).or(done.error);
        if let Some(error) = error {
            self.on_error(now, error, out);
        } else if is_flushed || was_opened {
            (self.error, self.retry_at) = (None, None);
            self.retry.reset();
        }
        match done.loaded.zip(loading) {
            Some((Ok(entries), stream)) => {
                (self.load_error, self.load_at) = (None, None);
                after.lost += self.load((now, done.now_ms), (stream, entries), config, sender);
            }
            Some((Err(error), _)) => {
                (self.load_error, self.load_at) = (Some(error), Some(now + READ_AGAIN));
            }
            None => {}
        }
        if self.last_jobs.is_some() {
            self.end_if_done(out);
        }
        after
    }

    fn on_opened(&mut self, opened: QueueOpened, after: &mut AfterJob, out: &mut Output) {
        self.is_open = true;
        self.damaged = opened.damaged;
        after.installation = opened.installation;
        after.lost += opened.foreign;
        let messages = opened.found.iter().map(|it| it.messages).sum();
        let QueueOpened { damaged, foreign, .. } = opened;
        if messages > 0 || damaged > 0 || foreign > 0 {
            out.push(Action::Log(Notice::QueueFound { messages, damaged, foreign }));
        }
        self.later.extend(opened.found);
    }

    /// What has no room waits here again.
    fn take_back(&mut self, returned: Vec<QueuedMessage>) {
        for message in returned.into_iter().rev() {
            let Some(it) = self.streams.iter_mut().find(|it| it.id == message.stream) else {
                continue;
            };
            if message.sequence <= it.acknowledged {
                continue;
            }
            it.handed_to = it.handed_to.min(message.sequence.saturating_sub(1));
            self.unwritten_bytes = self.unwritten_bytes.saturating_add(super::size(&message));
            self.unwritten.push_front(message);
        }
    }

    fn on_error(&mut self, now: Time, error: String, out: &mut Output) {
        self.answer_error(|_| true, &error, out);
        if self.error.as_ref() != Some(&error) {
            out.push(Action::Log(Notice::QueueFailed { error: error.clone() }));
        }
        self.error = Some(error);
        self.retry_at = Some(now + self.retry.next_delay());
        self.last_jobs = self.last_jobs.map(|_| 0);
    }
}
