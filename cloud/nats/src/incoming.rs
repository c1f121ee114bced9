//! What other instances send. What is malformed, or of another version, is counted and ignored.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Message, StatusCode};
use fedecks_cloud::messaging::backplane::Node;
use fedecks_cloud::messaging::{DeliverError, NodeId, RequestError};
use fedecks_cloud::{DeviceId, Term};
use tokio::time::Instant;

use crate::calls::{FIRST_HAND, PASSED_ON};
use crate::shared::Shared;
use crate::state::count;
use crate::waiting::Outcome;
use crate::wire::{self, Announcement, Answer, Call, Instance, Letter, OnTopic, Part};

impl Shared {
    pub(crate) fn on_announcement(self: &Arc<Self>, message: Message) {
        let Some(announcement) = Announcement::decode(&message.payload) else {
            return self.malformed("an announcement");
        };
        let now = Instant::now();
        match announcement {
            Announcement::Heartbeat { from, hello, .. } if from == self.me => {
                self.link.status.lock().echo = now;
                if hello {
                    self.wake_all();
                }
            }
            Announcement::Heartbeat { from, sequence, hello } => {
                self.change(|presences, effects| {
                    presences.fleet.heartbeat(from, sequence, now, effects);
                });
                if hello {
                    self.heartbeat(false);
                    self.wake_all();
                }
            }
            Announcement::Changes { from, sequence, changes } => {
                self.change(|presences, effects| {
                    presences.fleet.changes(from, sequence, changes, now, effects);
                });
            }
            Announcement::Bye { from } => {
                self.change(|presences, effects| presences.fleet.bye(from, effects));
            }
        }
    }

    /// This instance or another one was without NATS, so nodes may not have heard that messages wait.
    fn wake_all(&self) {
        let nodes: Vec<_> = self.nodes.lock().values().filter_map(Weak::upgrade).collect();
        nodes.iter().for_each(|node| node.wake_all());
    }

    pub(crate) fn on_topic(self: &Arc<Self>, message: Message) {
        // Its own nodes have it already.
        if OnTopic::sender(&message.payload) == Some(self.me) {
            return;
        }
        match OnTopic::decode(&message.payload) {
            Some(OnTopic { topic, message, .. }) => self.publish_here(&topic, &message),
            None => self.malformed("a message on a topic"),
        }
    }

    /// To the nodes of this instance.
    pub(crate) fn publish_here(
        &self,
        topic: &fedecks_cloud::messaging::Topic,
        message: &fedecks_cloud::Message,
    ) {
        let subscribed = self.topics.lock().nodes(topic).to_vec();
        for node in subscribed.into_iter().filter_map(|id| self.node(id)) {
            node.published(topic, message);
        }
    }

    pub(crate) fn on_answer(self: &Arc<Self>, message: Message) {
        let id = message.subject.rsplit('.').next().unwrap_or_default();
        let Ok(id) = u64::from_str_radix(id, 16) else {
            return self.malformed("an answer");
        };
        let outcome = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Some(Outcome::NoResponders)
        } else {
            Answer::decode(&message.payload).map(Outcome::Answer)
        };
        if outcome.is_none() {
            self.malformed("an answer");
        }
        self.waiting.answer(id, outcome);
    }

    pub(crate) fn on_letter(self: &Arc<Self>, message: Message) {
        match Letter::decode(&message.payload) {
            Some(Letter::AskSnapshot { from, nonce }) => self.send_snapshot(from, nonce),
            Some(Letter::Snapshot(part)) => {
                let now = Instant::now();
                self.change(|presences, effects| presences.fleet.part(part, now, effects));
            }
            Some(Letter::Call { from, id, node, device, call }) => {
                let reply = Reply { shared: self.clone(), to: from, id };
                self.on_call(node, device, call, reply);
            }
            Some(Letter::Cancel { from, id }) => self.answering.cancel((from, id)),
            None => self.malformed("a message to this node"),
        }
    }

    fn on_call(self: &Arc<Self>, node: NodeId, device: DeviceId, call: Call, reply: Reply) {
        let node = self.node(node);
        match call {
            Call::Deliver(payload) => {
                let not_connected = Err(DeliverError::NotConnected);
                let result = node.map_or(not_connected, |node| node.deliver(&device, &payload));
                reply.send(&Answer::Delivered(result));
            }
            Call::Close(reason) => {
                let closed = node.is_some_and(|node| node.close(&device, reason));
                reply.send(&Answer::Closed(closed));
            }
            Call::Wake => match self.entry(&device).filter(|entry| entry.owner != self.me) {
                // It has moved, which the caller does not know yet.
                Some(entry) if reply.id == FIRST_HAND => {
                    let _ = self.send_call(&entry, PASSED_ON, Call::Wake, None);
                }
                _ => {
                    if let Some(node) = node {
                        node.wake(&device);
                    }
                }
            },
            Call::Ask { question, timeout } => match node {
                Some(node) => self.ask_here(node, device, question, timeout, reply),
                None => reply.send(&Answer::Answered(Err(RequestError::NotConnected))),
            },
        }
    }

    fn ask_here(
        &self,
        node: Arc<dyn Node>,
        device: DeviceId,
        question: Term,
        timeout: Duration,
        reply: Reply,
    ) {
        let key = (reply.to, reply.id);
        let Some(room) = self.answering.room(key, question.weight()) else {
            return reply.send(&Answer::Answered(Err(RequestError::Busy)));
        };
        self.answering.spawn(key, async move {
            let _room = room;
            let answer = node.ask(&device, &question, timeout).await;
            reply.send(&Answer::Answered(answer));
        });
    }

    fn send_snapshot(self: &Arc<Self>, to: Instance, nonce: u64) {
        // It asks again if this one has too much to do.
        let Ok(permit) = self.snapshots.clone().try_acquire_owned() else { return };
        let (sequence, devices) = self.own();
        let (shared, max) = (self.clone(), self.max_part());
        tokio::spawn(async move {
            let _permit = permit;
            let (from, subject) = (shared.me, shared.letters(to));
            let (mut index, mut devices) = (0, devices.into_iter().peekable());
            loop {
                let (mut part, mut bytes) = (Vec::new(), 0);
                while let Some(next) = devices.peek() {
                    bytes += wire::size(next);
                    if bytes > max && !part.is_empty() {
                        break;
                    }
                    part.extend(devices.next());
                }
                let last = devices.peek().is_none();
                let part = Part { from, nonce, sequence, index, last, devices: part };
                let Ok(payload) = Letter::Snapshot(part).encode() else { return };
                if shared.client.publish(subject.clone(), payload.into()).await.is_err() {
                    return count(&shared.link.counters.dropped);
                }
                count(&shared.link.counters.sent);
                index += 1;
                if last {
                    return;
                }
            }
        });
    }

    fn malformed(&self, what: &str) {
        count(&self.link.counters.malformed);
        tracing::debug!(what, "ignored what is malformed or of another version on NATS");
    }
}

/// Where the answer to a call goes.
struct Reply {
    shared: Arc<Shared>,
    to: Instance,
    id: u64,
}

impl Reply {
    fn send(self, answer: &Answer) {
        let Self { shared, to, id } = self;
        let subject = format!("{}{id:x}", shared.answers(to));
        let mut payload = answer.encode(shared.me);
        if payload.len() > shared.max_payload() {
            tracing::warn!(
                bytes = payload.len(),
                "the answer of a device exceeds NATS's max_payload"
            );
            payload = Answer::Answered(Err(RequestError::OutcomeUnknown)).encode(shared.me);
        }
        // Should it be lost, the call times out.
        let _ = shared.send(subject, None, payload);
    }
}
