//! The devices of all instances, as one instance knows them: numbered changes, gaps, snapshots, and which connection of
//! a device stays. Without I/O: the time is passed in, and what has to be done is returned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::DeviceId;
use fedecks_cloud::messaging::{ConnectionId, LostNode, NodeId, Presence, PresenceEvent};
use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::wire::{Change, Instance, Part};

/// How many other instances are known at most.
const MAX_PEERS: usize = 256;

/// How many changes are held until the snapshot before them is there.
const MAX_HELD: usize = 100_000;

/// How many devices a snapshot has at most.
const MAX_DEVICES: usize = 10_000_000;

pub(crate) struct Fleet {
    me: Instance,
    devices: HashMap<DeviceId, Entry, RandomState>,
    peers: HashMap<Instance, Peer, RandomState>,
    last_nonce: u64,
    lost_after: Duration,
    ask_again_after: Duration,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) presence: Arc<Presence>,
    pub(crate) owner: Instance,
}

struct Peer {
    heard: Instant,
    /// The number of its last changes that are contained in the devices.
    applied: u64,
    resync: Option<Resync>,
}

/// The wait for a snapshot.
struct Resync {
    nonce: u64,
    /// The time of the question, or of the last part.
    progress: Instant,
    parts: u32,
    devices: Vec<Arc<Presence>>,
    /// What is newer than the question, in the order in which it was heard.
    held: Vec<(u64, Vec<Change>)>,
    held_count: usize,
}

/// What has to be done after a change.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<PresenceEvent>,
    /// The nodes of this instance whose connection is older than this one of the same device.
    pub(crate) newer: Vec<(NodeId, Arc<Presence>)>,
    /// The greatest id of another instance's connection.
    pub(crate) newest: Option<ConnectionId>,
    /// Those that have to be asked for a snapshot, each with a number to repeat.
    pub(crate) ask: Vec<(Instance, u64)>,
    /// Those that are gone.
    pub(crate) gone: Vec<Instance>,
    /// How many waits for a snapshot have begun.
    pub(crate) resyncs: u64,
}

impl Fleet {
    pub(crate) fn new(me: Instance, lost_after: Duration, ask_again_after: Duration) -> Self {
        Self {
            me,
            devices: HashMap::default(),
            peers: HashMap::default(),
            last_nonce: 0,
            lost_after,
            ask_again_after,
        }
    }

    pub(crate) fn get(&self, device: &DeviceId) -> Option<&Entry> {
        self.devices.get(device)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Presence>> {
        self.devices.values().map(|entry| entry.presence.clone()).collect()
    }

    /// How many devices are connected to all instances.
    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// The devices of this instance.
    pub(crate) fn own(&self) -> Vec<Arc<Presence>> {
        let own = self.devices.values().filter(|entry| entry.owner == self.me);
        own.map(|entry| entry.presence.clone()).collect()
    }

    /// How many other instances are heard.
    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    /// A connection to this instance; returns whether it stays and has to be announced.
    pub(crate) fn register(&mut self, presence: &Arc<Presence>, effects: &mut Effects) -> bool {
        self.merge(presence.clone(), self.me, effects)
    }

    /// A connection of this instance has ended; returns whether that has to be announced.
    pub(crate) fn unregister(&mut self, presence: &Presence, effects: &mut Effects) -> bool {
        self.remove(presence, effects)
    }

    /// A node of this instance has left.
    pub(crate) fn leave(&mut self, node: NodeId, effects: &mut Effects) {
        self.remove_node(self.me, node, effects);
    }

    /// A peer is there, and has sent changes up to this number.
    pub(crate) fn heartbeat(
        &mut self,
        from: Instance,
        sequence: u64,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(peer) = self.heard(from, now) else { return };
        if peer.resync.is_none() && sequence > peer.applied {
            self.resync(from, now, effects);
        }
    }

    /// The changes of a peer with this number.
    pub(crate) fn changes(
        &mut self,
        from: Instance,
        sequence: u64,
        changes: Vec<Change>,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(peer) = self.heard(from, now) else { return };
        if let Some(resync) = &mut peer.resync {
            resync.held_count += changes.len();
            resync.held.push((sequence, changes));
            if resync.held_count + resync.held.len() > MAX_HELD {
                self.resync(from, now, effects);
            }
        } else if sequence == peer.applied + 1 {
            peer.applied = sequence;
            self.apply(from, changes, effects);
        } else if sequence > peer.applied {
            self.resync(from, now, effects);
            if let Some(resync) = self.peers.get_mut(&from).and_then(|peer| peer.resync.as_mut()) {
                resync.held_count = changes.len();
                resync.held.push((sequence, changes));
            }
        }
    }

    /// A part of a peer's snapshot. One that does not continue the last is ignored; the peer is asked again then.
    pub(crate) fn part(&mut self, part: Part, now: Instant, effects: &mut Effects) {
        let Some(peer) = self.peers.get_mut(&part.from) else { return };
        peer.heard = now;
        let Some(resync) = &mut peer.resync else { return };
        let fits = resync.devices.len() + part.devices.len() <= MAX_DEVICES;
        if part.nonce != resync.nonce || part.index != resync.parts || !fits {
            return;
        }
        resync.parts += 1;
        resync.progress = now;
        resync.devices.extend(part.devices);
        if !part.last {
            return;
        }
        let (devices, held) =
            (std::mem::take(&mut resync.devices), std::mem::take(&mut resync.held));
        peer.resync = None;
        peer.applied = part.sequence;
        let stay: HashSet<_, RandomState> =
            devices.iter().map(|presence| presence.connection).collect();
        self.remove_all(effects, |entry| {
            entry.owner == part.from && !stay.contains(&entry.presence.connection)
        });
        for presence in devices {
            self.merge(presence, part.from, effects);
        }
        for (sequence, changes) in held {
            self.changes(part.from, sequence, changes, now, effects);
        }
    }

    /// A peer has ended.
    pub(crate) fn bye(&mut self, peer: Instance, effects: &mut Effects) {
        if self.peers.remove(&peer).is_some() {
            self.remove_all(effects, |entry| entry.owner == peer);
            effects.gone.push(peer);
        }
    }

    /// A peer is silent: its devices leave in one event for each of its nodes.
    fn lose(&mut self, peer: Instance, effects: &mut Effects) {
        self.peers.remove(&peer);
        let mut nodes: HashMap<NodeId, Vec<Arc<Presence>>, RandomState> = HashMap::default();
        self.devices.retain(|_, Entry { presence, owner }| {
            let stays = *owner != peer;
            if !stays {
                nodes.entry(presence.connection.node()).or_default().push(presence.clone());
            }
            stays
        });
        let lost = nodes.into_iter().map(|(node, devices)| Arc::new(LostNode::new(node, devices)));
        effects.events.extend(lost.map(PresenceEvent::NodeLost));
        effects.gone.push(peer);
    }

    /// To be called from time to time. Without a link the silence of the others means nothing.
    pub(crate) fn tick(&mut self, has_link: bool, now: Instant, effects: &mut Effects) {
        if !has_link {
            self.peers.values_mut().for_each(|peer| peer.heard = now);
            return;
        }
        let silent = self.peers.iter().filter(|(_, peer)| now - peer.heard >= self.lost_after);
        let silent: Vec<_> = silent.map(|(peer, _)| *peer).collect();
        silent.into_iter().for_each(|peer| self.lose(peer, effects));
        for (instance, peer) in &mut self.peers {
            let Some(resync) = &mut peer.resync else { continue };
            if now - resync.progress >= self.ask_again_after {
                self.last_nonce += 1;
                resync.nonce = self.last_nonce;
                (resync.progress, resync.parts, resync.devices) = (now, 0, Vec::new());
                effects.ask.push((*instance, resync.nonce));
            }
        }
    }

    /// `None` if it is this instance, or there are too many.
    fn heard(&mut self, from: Instance, now: Instant) -> Option<&mut Peer> {
        let is_known = self.peers.contains_key(&from);
        if from == self.me || (!is_known && self.peers.len() >= MAX_PEERS) {
            return None;
        }
        // One that has sent nothing has no devices.
        let new = || Peer { heard: now, applied: 0, resync: None };
        let peer = self.peers.entry(from).or_insert_with(new);
        peer.heard = now;
        Some(peer)
    }

    fn resync(&mut self, from: Instance, now: Instant, effects: &mut Effects) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        self.last_nonce += 1;
        peer.resync = Some(Resync {
            nonce: self.last_nonce,
            progress: now,
            parts: 0,
            devices: Vec::new(),
            held: Vec::new(),
            held_count: 0,
        });
        effects.ask.push((from, self.last_nonce));
        effects.resyncs += 1;
    }

    fn apply(&mut self, from: Instance, changes: Vec<Change>, effects: &mut Effects) {
        for change in changes {
            match change {
                Change::Arrived(presence) => {
                    self.merge(presence, from, effects);
                }
                Change::Left(presence) => {
                    self.remove(&presence, effects);
                }
                Change::NodeLeft(node) => self.remove_node(from, node, effects),
            }
        }
    }

    /// Returns whether it stays.
    fn merge(&mut self, presence: Arc<Presence>, owner: Instance, effects: &mut Effects) -> bool {
        let id = presence.connection;
        if owner != self.me {
            effects.newest = effects.newest.max(Some(id));
        }
        let new = Entry { presence: presence.clone(), owner };
        if let Some(entry) = self.devices.get_mut(&presence.device) {
            let current = entry.presence.connection;
            if current == id {
                entry.owner = owner;
                return true;
            }
            if current > id {
                if owner == self.me {
                    effects.newer.push((id.node(), entry.presence.clone()));
                }
                return false;
            }
            let older = std::mem::replace(entry, new);
            if older.owner == self.me {
                effects.newer.push((current.node(), presence.clone()));
            }
        } else {
            self.devices.insert(presence.device.clone(), new);
        }
        effects.events.push(PresenceEvent::Arrived(presence));
        true
    }

    fn remove(&mut self, presence: &Presence, effects: &mut Effects) -> bool {
        let current = self.devices.get(&presence.device);
        let is_current =
            current.is_some_and(|entry| entry.presence.connection == presence.connection);
        if is_current {
            let entry = self.devices.remove(&presence.device);
            effects.events.extend(entry.map(|entry| PresenceEvent::Left(entry.presence)));
        }
        is_current
    }

    fn remove_node(&mut self, owner: Instance, node: NodeId, effects: &mut Effects) {
        self.remove_all(effects, |entry| {
            entry.owner == owner && entry.presence.connection.node() == node
        });
    }

    fn remove_all(&mut self, effects: &mut Effects, goes: impl Fn(&Entry) -> bool) {
        self.devices.retain(|_, entry| {
            let goes = goes(entry);
            if goes {
                effects.events.push(PresenceEvent::Left(entry.presence.clone()));
            }
            !goes
        });
    }
}

#[cfg(test)]
mod tests;
