//! Messages that are kept on disk: when they are written, which of them are in memory, and who waits for that.
//!
//! What is not in memory is on disk, or waits here to be written. One job at a time goes to the driver, so that their
//! order is that of the decisions.

mod hold;
mod results;
mod status;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_common::Backoff;
use fedecks_delivery::{Sender, Transmit};
use fedecks_protocol::{Content, InstallationId, Lane, StreamId, Tag};

use super::output::Output;
use crate::action::Action;
use crate::config::Config;
use crate::kept::{KeepError, KeepId};
use crate::queue_job::{
    ANSWER_WITHIN, DiskLimits, FoundStream, QueueJob, QueueUsage, QueuedMessage,
};
use crate::time::Time;
use crate::timers::Timer;

/// What is acknowledged within this time is not written.
const GRACE: Duration = Duration::from_secs(2);

/// There is one sync in this time, unless more than [`GROUP`] bytes wait.
const INTERVAL: Duration = Duration::from_secs(5);

/// As many bytes are written at once.
const GROUP: u64 = 64 * 1024;

/// As many bytes are written without waiting for the cloud.
const HASTE: u64 = 256 * 1024;

/// The most streams of earlier starts that are sent at a time in a lane. There are two more of this start.
const OPEN: usize = 5;

#[derive(Debug)]
pub(super) struct DiskQueue {
    limits: DiskLimits,
    /// What may wait in memory to be written, in bytes.
    memory: u64,
    /// The oldest first.
    streams: Vec<DiskStream>,
    /// Further ones of earlier starts.
    later: VecDeque<FoundStream>,
    /// What was not given to the disk yet.
    unwritten: VecDeque<QueuedMessage>,
    unwritten_bytes: u64,
    /// Streams to close after the next job, and after the running one.
    finished: Vec<(Lane, u64)>,
    closing: Vec<(Lane, u64)>,
    waiting: Vec<Waiting>,
    forget: Vec<StreamId>,
    acknowledged: Vec<(StreamId, u64)>,
    /// Something that was acknowledged is on disk.
    acknowledgement_is_due: bool,
    installation_is_due: bool,
    sync: bool,
    is_running: bool,
    /// When it was first seen that it runs.
    running_since: Option<Time>,
    /// The stream that the running job reads, and behind which number.
    loading: Option<(StreamId, u64)>,
    is_open: bool,
    /// The last jobs, in a shutdown.
    last_jobs: Option<u8>,
    usage: QueueUsage,
    damaged: u64,
    error: Option<String>,
    load_error: Option<String>,
    retry: Backoff,
    retry_at: Option<Time>,
    load_at: Option<Time>,
    last_flush: Option<Time>,
}

/// A stream with something on disk, or on its way there.
#[derive(Debug)]
struct DiskStream {
    id: StreamId,
    lane: Lane,
    is_found: bool,
    /// The last number that was given to the disk.
    handed_to: u64,
    acknowledged: u64,
    /// How many numbers that are not in memory carry no message.
    voids: u64,
}

/// A caller who waits until a message is on disk.
#[derive(Debug)]
struct Waiting {
    id: KeepId,
    stream: StreamId,
    sequence: u64,
    tag: Tag,
    until: Time,
}

/// What the decision about the next job depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) now: Time,
    /// Messages can be sent.
    pub(super) is_connected: bool,
    pub(super) installation: Option<InstallationId>,
}

impl DiskQueue {
    /// Starts by opening the queue.
    pub(super) fn new(
        limits: DiskLimits,
        config: &Config,
        sender: &mut Sender<Content>,
        out: &mut Output,
    ) -> Self {
        out.push(Action::Queue(QueueJob::default()));
        Lane::ALL.into_iter().for_each(|lane| sender.hold(lane, true));
        Self {
            limits,
            memory: config.keep_bytes,
            streams: Vec::new(),
            later: VecDeque::new(),
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            finished: Vec::new(),
            closing: Vec::new(),
            waiting: Vec::new(),
            forget: Vec::new(),
            acknowledged: Vec::new(),
            acknowledgement_is_due: false,
            installation_is_due: false,
            sync: false,
            is_running: true,
            running_since: None,
            loading: None,
            is_open: false,
            last_jobs: None,
            usage: QueueUsage::default(),
            damaged: 0,
            error: None,
            load_error: None,
            retry: Backoff::default(),
            retry_at: None,
            load_at: None,
            last_flush: None,
        }
    }

    /// Refuses a message that does not fit: in memory while the disk cannot be written, or on disk in a lane
    /// of which nothing is dropped.
    pub(super) fn check_room(&self, lane: Lane, bytes: u64) -> Result<(), KeepError> {
        let waiting = self.unwritten_bytes.saturating_add(self.usage.unwritten_bytes);
        let limit = self.memory;
        if waiting.saturating_add(bytes) > limit {
            return Err(KeepError::QueueFull { waiting, limit });
        }
        let (waiting, limit) = (self.usage.bytes, self.limits.max_bytes);
        let messages = self.usage.messages.saturating_add(self.unwritten.len() as u64);
        let is_full = waiting.saturating_add(self.unwritten_bytes).saturating_add(bytes) > limit
            || messages >= self.limits.max_messages;
        if is_full && lane == Lane::Urgent || bytes > limit {
            return Err(KeepError::QueueFull { waiting, limit });
        }
        Ok(())
    }

    /// The stream of this start in a lane, if it is open.
    pub(super) fn current(&self, lane: Lane) -> Option<StreamId> {
        self.streams.iter().find(|it| !it.is_found && it.lane == lane).map(|it| it.id)
    }

    pub(super) fn begin(&mut self, lane: Lane, id: StreamId) {
        let (is_found, handed_to, acknowledged, voids) = (false, 0, 0, 0);
        self.streams.push(DiskStream { id, lane, is_found, handed_to, acknowledged, voids });
    }

    /// Takes a message that has its number, and answers when it is written or acknowledged.
    pub(super) fn push(&mut self, id: KeepId, message: QueuedMessage, sync: bool) {
        self.waiting.push(Waiting {
            id,
            stream: message.stream,
            sequence: message.sequence,
            tag: message.tag,
            until: message.accepted + ANSWER_WITHIN,
        });
        self.unwritten_bytes = self.unwritten_bytes.saturating_add(size(&message));
        self.unwritten.push_back(message);
        self.sync |= sync;
    }

    /// Everything in a stream up to a number is acknowledged.
    pub(super) fn on_acknowledged(&mut self, stream: StreamId, up_to: u64, out: &mut Output) {
        let Some(it) = self.streams.iter_mut().find(|it| it.id == stream) else { return };
        if up_to <= it.acknowledged {
            return;
        }
        self.acknowledgement_is_due |= it.acknowledged < it.handed_to;
        it.acknowledged = up_to;
        self.acknowledged.retain(|(known, _)| *known != stream);
        self.acknowledged.push((stream, up_to));
        self.answer_up_to(stream, up_to, out);
        let is_left = |one: &QueuedMessage| one.stream != stream || one.sequence > up_to;
        self.unwritten.retain(is_left);
        self.unwritten_bytes = self.unwritten.iter().map(size).sum();
    }

    /// Answers the caller of a message whose outcome is known.
    pub(super) fn on_settled(&mut self, tag: Tag, out: &mut Output) {
        if let Some(at) = self.waiting.iter().position(|it| it.tag == tag) {
            let Waiting { id, tag, .. } = self.waiting.swap_remove(at);
            out.push(Action::AnswerKeep { id, result: Ok(tag) });
        }
    }

    /// Forgets a stream of an earlier start in which nothing waits. It is closed only if others wait for its place,
    /// and not before it is gone from the disk: without its position the cloud would take it again, from a disk that a
    /// power cut has set back, or from a copy.
    pub(super) fn finish(&mut self, stream: StreamId, close: Option<Transmit<Content>>) {
        for it in self.streams.extract(|it| it.id == stream) {
            let is_wanted = self.later.iter().any(|found| found.lane == it.lane);
            if let (true, Some(Transmit::Close { handle })) = (is_wanted, close.as_ref()) {
                self.finished.push((it.lane, *handle));
            }
        }
    }

    /// Nothing is closed on a connection that has ended.
    pub(super) fn on_disconnected(&mut self) {
        self.finished.clear();
        self.closing.clear();
    }

    /// The installation is known now: it is stored with what is on disk.
    pub(super) fn on_installation(&mut self) {
        self.installation_is_due = self.usage.messages > 0;
    }

    pub(super) fn on_timer(&mut self, now: Time, out: &mut Output) {
        let error = self.error.clone().unwrap_or_else(|| "the disk does not respond".into());
        self.answer_error(|it| it.until <= now, &error, out);
    }

    /// Writes what is left.
    pub(super) fn shut_down(&mut self) {
        self.last_jobs = Some(2);
    }

    /// Starts the next job if there is none, and sets the timer.
    pub(super) fn pump(
        &mut self,
        at: Circumstances,
        sender: &mut Sender<Content>,
        out: &mut Output,
    ) {
        if at.is_connected {
            self.load_unwritten(sender);
        }
        self.forget_load_error(sender);
        self.hold(at.now, sender);
        if let Some(job) = self.next_job(at, sender).filter(|_| !self.is_running) {
            (self.is_running, self.running_since) = (true, Some(at.now));
            out.push(Action::Queue(self.take(job, sender)));
        }
        self.arm(at, out);
    }

    /// What the next job is for.
    fn next_job(&self, at: Circumstances, sender: &Sender<Content>) -> Option<QueueJob> {
        let is_due = |time: Option<Time>| time.is_none_or(|time| time <= at.now);
        let flush = self.flush_at(at).is_some_and(|time| time <= at.now);
        let may_load = at.is_connected && self.is_open && is_due(self.load_at);
        let load = may_load.then(|| self.to_load(sender)).flatten();
        let open = !self.is_open && self.error.is_some() && is_due(self.retry_at);
        let tell = self.is_open
            && (self.acknowledgement_is_due || self.installation_is_due || !self.forget.is_empty());
        let installation = at.installation;
        (flush || load.is_some() || open || tell).then(|| QueueJob {
            flush,
            load,
            installation,
            ..QueueJob::default()
        })
    }

    fn take(&mut self, mut job: QueueJob, sender: &mut Sender<Content>) -> QueueJob {
        self.closing = std::mem::take(&mut self.finished);
        job.forget = std::mem::take(&mut self.forget);
        job.acknowledged = std::mem::take(&mut self.acknowledged);
        (self.acknowledgement_is_due, self.installation_is_due) = (false, false);
        if job.flush && self.is_nearly_full() {
            // What is in memory must not be dropped, and what is dropped should be the oldest.
            self.streams.iter().for_each(|it| sender.unload(it.id));
            // It was decided by what was in memory.
            job.load = None;
        }
        self.loading = job.load;
        let in_memory =
            |it: &DiskStream| Some((it.id, sender.window(it.id)?.end.saturating_sub(1)));
        job.in_memory = self.streams.iter().filter_map(in_memory).collect();
        if job.flush {
            self.sync = false;
            self.last_jobs = self.last_jobs.map(|left| left.saturating_sub(1));
            job.append = std::mem::take(&mut self.unwritten).into();
            self.unwritten_bytes = 0;
            for message in &job.append {
                if let Some(it) = self.streams.iter_mut().find(|it| it.id == message.stream) {
                    it.handed_to = it.handed_to.max(message.sequence);
                }
            }
        }
        job
    }

    fn is_nearly_full(&self) -> bool {
        let DiskLimits { max_bytes, max_messages } = self.limits;
        let messages = self.usage.messages.saturating_add(self.unwritten.len() as u64);
        self.usage.bytes.saturating_add(self.unwritten_bytes) > max_bytes - max_bytes / 8
            || messages > max_messages - max_messages / 8
    }

    /// When what waits has to be written.
    fn flush_at(&self, at: Circumstances) -> Option<Time> {
        let oldest = self.unwritten.front();
        if oldest.is_none() && self.usage.unwritten_bytes == 0 {
            return None;
        }
        if let Some(left) = self.last_jobs {
            return (left > 0).then_some(at.now);
        }
        if self.sync {
            return Some(at.now);
        }
        let retry_at = self.retry_at.unwrap_or_default();
        let Some(oldest) = oldest else { return Some(retry_at) };
        let is_hasty = self.unwritten_bytes >= HASTE;
        let grace = if at.is_connected && !is_hasty { GRACE } else { Duration::ZERO };
        let due = oldest.accepted + grace;
        let last = self.last_flush.filter(|_| self.unwritten_bytes < GROUP);
        let due = last.map_or(due, |last| due.max(last + INTERVAL));
        Some(due.max(retry_at))
    }

    fn arm(&self, at: Circumstances, out: &mut Output) {
        let deadline = self.waiting.iter().map(|it| it.until).min();
        let idle = |time: Option<Time>| time.filter(|_| !self.is_running);
        let flush = idle(self.flush_at(at));
        let open = idle(self.retry_at.filter(|_| !self.is_open));
        let load = idle(self.load_at.filter(|_| at.is_connected));
        let hold = self.held_until().filter(|_| at.is_connected);
        let later = [load, open, hold].into_iter().flatten().filter(|time| *time > at.now).min();
        match [deadline, flush, later].into_iter().flatten().min() {
            Some(time) if self.last_jobs.is_none() => out.timers.set(Timer::Queue, time),
            _ => out.timers.stop(Timer::Queue),
        }
    }

    fn answer_up_to(&mut self, stream: StreamId, up_to: u64, out: &mut Output) {
        let is_done = |it: &mut Waiting| it.stream == stream && it.sequence <= up_to;
        for it in self.waiting.extract(is_done) {
            out.push(Action::AnswerKeep { id: it.id, result: Ok(it.tag) });
        }
    }

    fn answer_error(
        &mut self,
        mut choose: impl FnMut(&Waiting) -> bool,
        error: &str,
        out: &mut Output,
    ) {
        for it in self.waiting.extract(|it| choose(it)) {
            let result = Err(KeepError::Disk { tag: it.tag, error: error.to_owned() });
            out.push(Action::AnswerKeep { id: it.id, result });
        }
    }

    /// Answers those who wait if nothing more will be written in the shutdown.
    pub(super) fn end_if_done(&mut self, out: &mut Output) {
        let is_left = !self.unwritten.is_empty() || self.usage.unwritten_bytes > 0;
        let may_go_on = self.last_jobs.is_some_and(|left| left > 0);
        let goes_on = is_left && may_go_on;
        if !self.is_running && !goes_on {
            for it in std::mem::take(&mut self.waiting) {
                out.push(Action::AnswerKeep { id: it.id, result: Err(KeepError::ShutDown) });
            }
        }
    }
}

/// `Vec::extract_if` is newer than the oldest compiler that has to work.
trait Extract<T> {
    fn extract(&mut self, choose: impl FnMut(&mut T) -> bool) -> Vec<T>;
}

impl<T> Extract<T> for Vec<T> {
    fn extract(&mut self, mut choose: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let (mut chosen, mut rest) = (Self::new(), Self::new());
        for mut it in std::mem::take(self) {
            if choose(&mut it) { chosen.push(it) } else { rest.push(it) }
        }
        *self = rest;
        chosen
    }
}

/// What a message takes in memory while it waits to be written, in bytes.
fn size(message: &QueuedMessage) -> u64 {
    message.content.size() as u64 + crate::kept::OVERHEAD
}
