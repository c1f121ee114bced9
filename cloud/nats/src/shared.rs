//! What the tasks and the calls of a backplane share, and how a change of presence takes effect.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use async_nats::Client;
use async_nats::connection::State;
use fedecks_cloud::messaging::backplane::{Node, SubscribedNodes};
use fedecks_cloud::messaging::{BackplaneError, NodeId, PresenceEvents};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use crate::answering::Answering;
use crate::fleet::{Effects, Fleet};
use crate::link::Link;
use crate::options::Times;
use crate::outgoing::{Outbound, Outgoing};
use crate::state::count;
use crate::waiting::Waiting;
use crate::wire::{Announcement, Change, Instance, Letter};

/// The biggest announcement and the biggest part of a snapshot, in bytes.
const MAX_PART: usize = 32 * 1024;

/// What they have besides devices, and a device's longest entry, fit in this.
const HEAD: usize = 64;

/// What NATS accepts by default, in bytes; assumed until it has said what it accepts.
const MAX_PAYLOAD: usize = 1024 * 1024;

/// How many snapshots are sent at the same time.
const SNAPSHOTS: usize = 4;

pub(crate) struct Shared {
    pub(crate) me: Instance,
    pub(crate) prefix: String,
    pub(crate) times: Times,
    pub(crate) client: Client,
    pub(crate) link: Arc<Link>,
    pub(crate) presences: Mutex<Presences>,
    /// Sent to while the presences are locked, so that events are in the order of the changes.
    pub(crate) events: PresenceEvents,
    /// Counts the changes of presence.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) nodes: Mutex<HashMap<NodeId, Weak<dyn Node>, RandomState>>,
    pub(crate) topics: Mutex<SubscribedNodes>,
    pub(crate) outgoing: Outgoing,
    /// There are changes to announce.
    pub(crate) announce: Notify,
    pub(crate) waiting: Waiting,
    pub(crate) answering: Arc<Answering>,
    pub(crate) snapshots: Arc<Semaphore>,
}

pub(crate) struct Presences {
    pub(crate) fleet: Fleet,
    /// Not announced yet.
    pending: Vec<Change>,
    pending_bytes: usize,
    /// The number of the last changes that were announced.
    sequence: u64,
}

impl Shared {
    pub(crate) fn new(prefix: String, times: Times, client: Client, link: Arc<Link>) -> Self {
        let me = Instance(rand::random());
        let fleet = Fleet::new(me, times.lost, times.resync);
        Self {
            me,
            prefix,
            client,
            link,
            presences: Mutex::new(Presences {
                fleet,
                pending: Vec::new(),
                pending_bytes: 0,
                sequence: 0,
            }),
            times,
            events: PresenceEvents::new(),
            changed: watch::Sender::default(),
            nodes: Mutex::default(),
            topics: Mutex::default(),
            outgoing: Outgoing::default(),
            announce: Notify::new(),
            waiting: Waiting::default(),
            answering: Arc::default(),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS)),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(crate) fn max_payload(&self) -> usize {
        match self.client.server_info().max_payload {
            0 => MAX_PAYLOAD,
            bytes => bytes,
        }
    }

    /// The bytes of entries that an announcement, or a part of a snapshot, has at most.
    pub(crate) fn max_part(&self) -> usize {
        MAX_PART.min(self.max_payload().saturating_sub(HEAD))
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<Arc<dyn Node>> {
        self.nodes.lock().get(&id)?.upgrade()
    }

    /// Changes the presences, and does what follows from that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Presences, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let (result, is_changed) = {
            let mut presences = self.presences.lock();
            let result = change(&mut presences, &mut effects);
            let is_changed = !effects.events.is_empty();
            effects.events.drain(..).for_each(|event| self.events.send(event));
            (result, is_changed)
        };
        if is_changed {
            self.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
        if let Some(newest) = effects.newest {
            let nodes: Vec<_> = self.nodes.lock().values().filter_map(Weak::upgrade).collect();
            nodes.iter().for_each(|node| node.observe(newest));
        }
        for (node, newer) in effects.newer {
            if let Some(node) = self.node(node) {
                node.on_newer_connection(&newer);
            }
        }
        for (peer, nonce) in effects.ask {
            self.post(peer, &Letter::AskSnapshot { from: self.me, nonce });
        }
        effects.gone.into_iter().for_each(|peer| self.waiting.gone(peer));
        self.link.counters.resyncs.fetch_add(effects.resyncs, Relaxed);
        result
    }

    /// Announces a change soon, together with others.
    pub(crate) fn announce(&self, presences: &mut Presences, change: Change) {
        presences.pending_bytes += change.size();
        presences.pending.push(change);
        if presences.pending_bytes >= MAX_PART {
            self.announce_now(presences);
        } else {
            self.announce.notify_one();
        }
    }

    /// Sends the changes that wait. Those that cannot be sent leave a gap in the numbers, by which the others notice.
    pub(crate) fn announce_now(&self, presences: &mut Presences) {
        presences.pending_bytes = 0;
        let (max, mut part, mut bytes) = (self.max_part(), Vec::new(), 0);
        for change in std::mem::take(&mut presences.pending) {
            if bytes + change.size() > max && !part.is_empty() {
                self.send_changes(presences, std::mem::take(&mut part));
                bytes = 0;
            }
            bytes += change.size();
            part.push(change);
        }
        if !part.is_empty() {
            self.send_changes(presences, part);
        }
    }

    fn send_changes(&self, presences: &mut Presences, changes: Vec<Change>) {
        presences.sequence += 1;
        let sequence = presences.sequence;
        self.tell_all(&Announcement::Changes { from: self.me, sequence, changes });
    }

    pub(crate) fn heartbeat(&self, hello: bool) {
        let presences = self.presences.lock();
        let sequence = presences.sequence;
        self.tell_all(&Announcement::Heartbeat { from: self.me, sequence, hello });
    }

    /// The devices of this instance, and the number of the last changes that they contain.
    pub(crate) fn own(&self) -> (u64, Vec<Arc<fedecks_cloud::messaging::Presence>>) {
        let mut presences = self.presences.lock();
        self.announce_now(&mut presences);
        (presences.sequence, presences.fleet.own())
    }

    fn tell_all(&self, announcement: &Announcement) {
        // What cannot be sent is counted, and the others notice it by the numbers.
        let _ = self.send(self.announcements(), None, announcement.encode());
    }

    /// Sends a letter of which it does not matter much whether it arrives.
    pub(crate) fn post(&self, to: Instance, letter: &Letter) {
        if let Ok(payload) = letter.encode() {
            let _ = self.send(self.letters(to), None, payload);
        }
    }

    /// Sends a message, or fails before anything was sent.
    pub(crate) fn send(
        &self,
        subject: String,
        reply: Option<String>,
        payload: Vec<u8>,
    ) -> Result<(), BackplaneError> {
        let dropped = |why: &str| {
            count(&self.link.counters.dropped);
            Err(BackplaneError::new(why))
        };
        if !self.is_connected() {
            return dropped("NATS is not connected");
        }
        let (size, limit) = (payload.len(), self.max_payload());
        if size > limit {
            let why = format!("a message of {size} bytes exceeds NATS's max_payload of {limit}");
            return dropped(&why);
        }
        if self.outgoing.push(Outbound { subject, reply, payload }) {
            Ok(())
        } else {
            dropped("too much waits for NATS")
        }
    }

    pub(crate) fn announcements(&self) -> String {
        format!("{}.presence", self.prefix)
    }

    /// Of the messages on all topics: an instance ignores those on topics to which its nodes are not subscribed. Each
    /// device has a topic, and as many subscriptions at NATS would take more memory than the devices' sessions.
    pub(crate) fn topic_messages(&self) -> String {
        format!("{}.topics", self.prefix)
    }

    pub(crate) fn letters(&self, to: Instance) -> String {
        format!("{}.node.{:016x}", self.prefix, to.0)
    }

    /// The beginning of the subjects of answers to an instance.
    pub(crate) fn answers(&self, to: Instance) -> String {
        format!("{}.reply.{:016x}.", self.prefix, to.0)
    }
}
