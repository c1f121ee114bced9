//! Which messages of the disk are in memory: of each lane a window of those that are sent next.

use std::time::Duration;

use fedecks_delivery::{Entry, Message, Sender, Window};
use fedecks_protocol::{Content, Lane, SkipReason, StreamId, Tag};

use super::{DiskQueue, DiskStream, Extract, OPEN};
use crate::config::Config;
use crate::queue_job::{FoundStream, QueueEntry, QueueItem, QueueJob, QueuedMessage};
use crate::time::Time;

impl DiskQueue {
    /// Adds a message that has just been accepted to what is in memory, if that is all of its stream, and has room.
    pub(in super::super) fn admit(sender: &mut Sender<Content>, message: &QueuedMessage) {
        let fits =
            sender.window(message.stream).is_some_and(|it| it.unloaded() == 0 && has_room(it));
        if fits {
            sender.append(message.stream, entry(message));
        } else {
            sender.extend(message.stream, message.sequence);
        }
    }

    /// Opens further streams of earlier starts, the oldest first.
    pub(in super::super) fn open_found(&mut self, sender: &mut Sender<Content>) {
        for found in std::mem::take(&mut self.later) {
            let FoundStream { stream: id, lane, first, last, messages } = found;
            let open = self.streams.iter().filter(|it| it.is_found && it.lane == lane).count();
            let closing = self.finished.iter().chain(&self.closing);
            let open = open + closing.filter(|(of, _)| *of == lane).count();
            if open >= OPEN || !sender.open_complete(lane, id, (first, last)) {
                self.later.push_back(found);
                continue;
            }
            let numbers = last.saturating_add(1).saturating_sub(first);
            let (voids, acknowledged) = (numbers.saturating_sub(messages), first.saturating_sub(1));
            let (is_found, handed_to) = (true, last);
            let it = DiskStream { id, lane, is_found, handed_to, acknowledged, voids };
            let at = self.streams.iter().take_while(|it| it.is_found).count();
            self.streams.insert(at, it);
        }
    }

    /// Loads what was accepted and not given to the disk yet.
    pub(super) fn load_unwritten(&self, sender: &mut Sender<Content>) {
        for message in &self.unwritten {
            let Some(window) = sender.window(message.stream) else { continue };
            if window.end == message.sequence && has_room(window) {
                sender.load(message.stream, message.sequence, Entry::Message(entry(message)));
            }
        }
    }

    /// The stream, and the number behind which it is to be read from disk.
    pub(super) fn to_load(&self, sender: &Sender<Content>) -> Option<(StreamId, u64)> {
        let of_lane = |lane| {
            let windows = self.streams.iter().filter(move |it| it.lane == lane);
            let mut windows = windows.filter_map(|it| Some((it, sender.window(it.id)?)));
            windows.find(|(_, window)| window.unloaded() > 0)
        };
        let can =
            |(it, window): &(&DiskStream, Window)| window.end <= it.handed_to && has_room(*window);
        let next = Lane::ALL.into_iter().filter_map(of_lane).find(can);
        next.map(|(it, window)| (it.id, window.end.saturating_sub(1)))
    }

    /// That something could not be read is over when nothing is left to read: the cloud has it by now.
    pub(super) fn forget_load_error(&mut self, sender: &Sender<Content>) {
        let is_loaded =
            |it: &DiskStream| sender.window(it.id).is_none_or(|window| window.unloaded() == 0);
        if self.load_error.is_some() && self.streams.iter().all(is_loaded) {
            (self.load_error, self.load_at) = (None, None);
        }
    }

    /// Takes what was read from disk. Returns how many numbers turned out to be damaged.
    pub(super) fn load(
        &mut self,
        (now, now_ms): (Time, Option<u64>),
        (stream, entries): (StreamId, Vec<QueueEntry>),
        config: &Config,
        sender: &mut Sender<Content>,
    ) -> u64 {
        let Some(it) = self.streams.iter_mut().find(|it| it.id == stream) else { return 0 };
        let mut damaged = 0;
        let mut void = |sender: &mut Sender<Content>, to: u64, reason| {
            let Some(window) = sender.window(stream) else { return };
            let numbers = to.saturating_add(1).saturating_sub(window.end);
            sender.load_void(stream, to, reason);
            let known = it.voids.min(numbers);
            it.voids -= known;
            if reason == SkipReason::Damaged {
                damaged += numbers;
            }
        };
        let is_empty = entries.is_empty();
        for QueueEntry { from, to, item } in entries {
            // What is missing was on disk, and is there no longer.
            void(sender, from.saturating_sub(1), SkipReason::Damaged);
            match item {
                QueueItem::Void(reason) => void(sender, to, reason),
                QueueItem::Message { tag, sent_at_ms, expires_at_ms, raw, body } => {
                    let content = if raw {
                        Some(Content::Raw(body))
                    } else {
                        config
                            .dialect
                            .check_term(&body, &config.limits_of_kept())
                            .ok()
                            .map(Content::Term)
                    };
                    match content {
                        Some(content) => {
                            let size = content.size() as u64;
                            // Without a clock that can be trusted it lives longer.
                            let left =
                                expires_at_ms.zip(now_ms).map(|(at, now)| at.saturating_sub(now));
                            let expires_at =
                                left.map(|left| (now + Duration::from_millis(left)).since_start());
                            let (redelivered, body) = (false, content);
                            let message =
                                Message { tag, size, sent_at_ms, expires_at, redelivered, body };
                            sender.load(stream, to, Entry::Message(message));
                        }
                        None => void(sender, to, SkipReason::Damaged),
                    }
                }
            }
        }
        if is_empty {
            void(sender, it.handed_to, SkipReason::Damaged);
        }
        damaged
    }

    /// Gives up everything: it is for another installation. Returns how many messages were not in memory, and the ids
    /// of them that are known.
    pub(in super::super) fn abandon(&mut self, sender: &Sender<Content>) -> (u64, Vec<Tag>) {
        let mut lost = 0;
        for it in std::mem::take(&mut self.streams) {
            let Some(window) = sender.window(it.id) else { continue };
            lost += window.unloaded().saturating_sub(it.voids);
            self.give_up(it.id);
        }
        for it in std::mem::take(&mut self.later) {
            lost += it.messages;
            self.give_up(it.stream);
        }
        let unloaded = |one: &QueuedMessage| {
            sender.window(one.stream).is_none_or(|window| window.end <= one.sequence)
        };
        let unwritten = std::mem::take(&mut self.unwritten);
        self.unwritten_bytes = 0;
        let tags = unwritten.iter().filter(|one| unloaded(one)).map(|one| one.tag).collect();
        (lost, tags)
    }

    /// Gives up what earlier starts left. Returns how many messages that are.
    pub(in super::super) fn abandon_found(&mut self, sender: &mut Sender<Content>) -> u64 {
        let mut lost = 0;
        for it in self.streams.extract(|it| it.is_found) {
            if let Some(window) = sender.window(it.id) {
                lost += window.unloaded().saturating_sub(it.voids) + window.waiting.messages;
            }
            sender.remove(it.id);
            self.give_up(it.id);
        }
        for it in std::mem::take(&mut self.later) {
            lost += it.messages;
            self.give_up(it.stream);
        }
        lost
    }

    fn give_up(&mut self, stream: StreamId) {
        self.acknowledged.retain(|(known, _)| *known != stream);
        self.forget.push(stream);
    }
}

/// Whether more of a stream may be loaded.
fn has_room(window: Window) -> bool {
    window.waiting.messages < QueueJob::LOAD_ENTRIES as u64
        && window.waiting.bytes < QueueJob::LOAD_BYTES as u64
}

fn entry(message: &QueuedMessage) -> Message<Content> {
    Message {
        tag: message.tag,
        size: message.content.size() as u64,
        sent_at_ms: message.sent_at_ms,
        expires_at: Some(message.expires_at.since_start()),
        redelivered: false,
        body: message.content.clone(),
    }
}
