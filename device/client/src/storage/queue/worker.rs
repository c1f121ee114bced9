//! Executes the core's jobs on a queue in a directory, and decides nothing.

use std::collections::VecDeque;

use fedecks_device_core::{
    DiskLimits, FoundStream, QueueDone, QueueEntry, QueueItem, QueueJob, QueueLost, QueueOpened,
    QueueUsage, QueuedMessage,
};
use fedecks_device_queue::{
    AppendError, Directory, InFlight, Item, Limits, Lost, Owner, Queue, Record,
};
use fedecks_protocol::{Content, InstallationId, Lane};

/// Executes jobs, one at a time.
#[derive(Debug)]
pub(crate) struct QueueWorker<D> {
    device: String,
    limits: Limits,
    queue: Option<Open<D>>,
}

#[derive(Debug)]
struct Open<D> {
    queue: Queue<D>,
    owner: Option<Owner>,
}

impl<D: Directory> QueueWorker<D> {
    pub(crate) fn new(device: String, limits: DiskLimits, max_body_bytes: usize) -> Self {
        let DiskLimits { max_bytes, max_messages } = limits;
        // Every start may leave one, and the core holds back those that do not fit into a connection.
        let streams_per_lane = 1_000;
        let default = Limits::default();
        let limits =
            Limits { max_bytes, max_messages, max_body_bytes, streams_per_lane, ..default };
        Self { device, limits, queue: None }
    }

    /// Whether the queue was opened.
    pub(crate) fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// Executes a job. The directory is that of the queue, which is opened first if it is not open.
    pub(crate) fn run(
        &mut self,
        mut job: QueueJob,
        now_ms: Option<u64>,
        directory: impl FnOnce() -> D,
    ) -> QueueDone {
        let mut done = QueueDone { now_ms, ..QueueDone::default() };
        let device = self.device.clone();
        let open = match &mut self.queue {
            Some(open) => open,
            None => match open(directory(), self.limits.clone(), &device) {
                Ok((open, opened)) => {
                    done.opened = Some(opened);
                    self.queue.insert(open)
                }
                Err(error) => return failed(job, error.to_string()),
            },
        };
        for stream in std::mem::take(&mut job.forget) {
            if let Err(error) = open.queue.forget(stream) {
                done.error = Some(unwritten(error));
            }
        }
        for (stream, up_to) in std::mem::take(&mut job.acknowledged) {
            // What cannot be removed is found again at the next start, and is known to the cloud.
            let _ = open.queue.acknowledged(stream, up_to);
        }
        open.append(&mut job, now_ms, &mut done);
        let usage = open.queue.usage();
        if usage.messages > 0 {
            let written = open.own(device, job.installation);
            if job.flush {
                done.flushed = Some(written.and_then(|()| open.flush()));
            }
        } else if job.flush {
            done.flushed = Some(Ok(()));
        }
        if let Some((stream, after)) = job.load {
            let read = open.queue.read(stream, after, QueueJob::LOAD_ENTRIES, QueueJob::LOAD_BYTES);
            let entries = read.map(|records| records.into_iter().map(entry).collect());
            done.loaded = Some(entries.map_err(|error| format!("cannot read the queue: {error}")));
        }
        let usage = open.queue.usage();
        done.usage = QueueUsage {
            messages: usage.messages,
            bytes: usage.bytes,
            unwritten_bytes: usage.unwritten_bytes as u64,
        };
        done
    }
}

/// The result of a job of which nothing could be done.
pub(crate) fn failed(job: QueueJob, error: String) -> QueueDone {
    QueueDone { returned: job.append, error: Some(error), ..QueueDone::default() }
}

fn open<D: Directory>(
    mut directory: D,
    limits: Limits,
    device: &str,
) -> std::io::Result<(Open<D>, QueueOpened)> {
    let owner = Owner::load(&mut directory)?;
    let found = Queue::open(directory, limits);
    if let Some(error) = found.error {
        return Err(error);
    }
    let mut queue = found.queue;
    let mut opened = QueueOpened { damaged: found.damage.len() as u64, ..QueueOpened::default() };
    let is_foreign = owner.as_ref().is_some_and(|owner| owner.device != device);
    for it in found.found {
        let FoundStream { stream, last, messages, .. } = FoundStream {
            stream: it.stream,
            lane: it.lane,
            first: it.first,
            last: it.last,
            messages: it.messages,
        };
        if is_foreign {
            opened.foreign += messages;
            let _ = queue.forget(stream);
        } else {
            let (lane, first) = (it.lane, it.first);
            opened.found.push(FoundStream { stream, lane, first, last, messages });
        }
    }
    let owner = owner.filter(|_| !is_foreign);
    opened.installation = owner.as_ref().and_then(|owner| owner.installation);
    Ok((Open { queue, owner }, opened))
}

impl<D: Directory> Open<D> {
    /// Appends all messages, as far as there is room; what follows one without room has none either.
    fn append(&mut self, job: &mut QueueJob, now_ms: Option<u64>, done: &mut QueueDone) {
        let in_memory = job.in_memory.iter();
        let in_flight: Vec<InFlight> =
            in_memory.map(|(stream, up_to)| InFlight { stream: *stream, up_to: *up_to }).collect();
        let mut messages = VecDeque::from(std::mem::take(&mut job.append));
        while let Some(message) = messages.front() {
            match self.queue.append(message.stream, message.lane, record(message)) {
                Ok(given_up) => done.lost.extend(given_up.into_iter().map(lost)),
                Err(AppendError::Full(full)) => match self.make_room(now_ms, &in_flight) {
                    Some(given_up) => {
                        done.lost.push(lost(given_up));
                        continue;
                    }
                    None => {
                        done.error = Some(full.to_string());
                        break;
                    }
                },
                // It can never be taken.
                Err(AppendError::TooBig { .. } | AppendError::OutOfOrder(_)) => {
                    let (stream, tags) = (message.stream, vec![message.tag]);
                    let reason = fedecks_protocol::SkipReason::Damaged;
                    done.lost.push(QueueLost { stream, count: 1, tags, reason });
                }
            }
            messages.pop_front();
        }
        done.returned = messages.into();
    }

    /// The oldest messages of the normal lane go; of the urgent one, those that have expired.
    fn make_room(&mut self, now_ms: Option<u64>, in_flight: &[InFlight]) -> Option<Lost> {
        let mut drop = |lane| self.queue.drop_oldest(lane, now_ms, in_flight).ok().flatten();
        drop(Lane::Normal).or_else(|| drop(Lane::Urgent))
    }

    /// Stores whose messages these are, unless that is stored.
    fn own(&mut self, device: String, installation: Option<InstallationId>) -> Result<(), String> {
        let owner = Some(Owner { device, installation });
        if self.owner != owner {
            if let Some(owner) = &owner {
                owner.store(self.queue.directory()).map_err(unwritten)?;
            }
            self.owner = owner;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.queue.flush().map_err(|error| error.to_string())
    }
}

fn unwritten(error: std::io::Error) -> String {
    format!("cannot write the queue: {error}")
}

fn record(message: &QueuedMessage) -> Record {
    Record {
        sequence: message.sequence,
        tag: message.tag,
        sent_at_ms: message.sent_at_ms.unwrap_or(0),
        expires_at_ms: message.expires_at_ms.unwrap_or(0),
        item: Item::Message {
            raw: matches!(message.content, Content::Raw(_)),
            body: message.content.as_bytes().to_vec(),
        },
    }
}

fn entry(record: Record) -> QueueEntry {
    let (from, to) = (record.sequence, record.last());
    let known = |ms: u64| (ms > 0).then_some(ms);
    let item = match record.item {
        Item::Void { reason, .. } => QueueItem::Void(reason),
        Item::Message { raw, body } => QueueItem::Message {
            tag: record.tag,
            sent_at_ms: known(record.sent_at_ms),
            expires_at_ms: known(record.expires_at_ms),
            raw,
            body,
        },
    };
    QueueEntry { from, to, item }
}

fn lost(lost: Lost) -> QueueLost {
    let Lost { stream, count, tags, reason, .. } = lost;
    QueueLost { stream, count, tags, reason }
}

#[cfg(test)]
mod tests;
