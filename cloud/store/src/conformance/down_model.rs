//! A device, a connection and callers that do things in random orders: nothing is lost, given up after it arrived, or out
//! of order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fedecks_protocol::{DeviceId, Lane, StreamId, Tag};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::support::device;
use crate::device_queue::{
    Acknowledged, Acknowledgement, Cancelled, DeviceQueueStore, DownEntry, DownRoom, DownState,
    DropReason, NewDown, Queued,
};
use crate::down_size::DownLimits;

const LANE: Lane = Lane::Normal;

pub(crate) struct World<S> {
    pub(crate) store: S,
    device: DeviceId,
    random: StdRng,
    now: u64,
    next: u64,
    /// The device's position.
    position: (StreamId, u64, Tag),
    /// What the device got since its stream is this one.
    arrived: BTreeSet<Tag>,
    /// How each message was settled.
    settled: BTreeMap<Tag, DownState>,
    /// What is on its way to the device, if it is connected, and the last number of that.
    connection: Option<(VecDeque<DownEntry>, u64)>,
}

impl<S: DeviceQueueStore> World<S> {
    pub(crate) fn new(seed: u64, store: S) -> Self {
        Self {
            store,
            device: device("kitchen"),
            random: StdRng::seed_from_u64(seed),
            now: 1,
            next: 1,
            position: (StreamId([0; 16]), 0, Tag(0)),
            arrived: BTreeSet::new(),
            settled: BTreeMap::new(),
            connection: None,
        }
    }

    pub(crate) async fn step(&mut self) {
        match self.random.random_range(0..13) {
            0..=3 => self.queue().await,
            4 => self.connect().await,
            5 | 6 => self.send().await,
            7 | 8 => self.receive(),
            9 => self.acknowledge(false).await,
            10 => self.cancel().await,
            11 => {
                self.now += self.random.random_range(0..6);
                let expired = self.store.expire_messages(self.now).await.unwrap();
                expired.messages.into_iter().for_each(|(_, id)| self.gone(id, DownState::Expired));
            }
            _ if self.random.random_range(0..20) == 0 => {
                self.store.renumber(&self.device, LANE).await.unwrap();
                self.connection = None;
                self.arrived.clear();
            }
            _ => self.connection = None,
        }
    }

    fn gone(&mut self, id: Tag, state: DownState) {
        let given_up = matches!(state, DownState::Expired | DownState::Dropped(_));
        assert!(!(given_up && self.arrived.contains(&id)), "{id} arrived and is {state:?}");
        assert_eq!(self.settled.insert(id, state), None, "{id} is settled once");
    }

    async fn queue(&mut self) {
        let key = [None, None, Some("a"), Some("b")][self.random.random_range(0..4)];
        let message = NewDown {
            id: Tag(self.next),
            lane: LANE,
            raw: false,
            body: "x".repeat(self.random.random_range(0..100)).into(),
            at: self.now,
            expires_at: self.now + self.random.random_range(1..30),
            collapse_key: key.map(str::to_owned),
        };
        self.next += 1;
        let limits = DownLimits::default();
        let queued = self.store.queue_message(&self.device, message, None, limits).await.unwrap();
        let Queued::Accepted { replaced } = queued else { panic!("{queued:?}") };
        let state = DownState::Dropped(DropReason::Replaced);
        replaced.into_iter().for_each(|id| self.gone(id, state));
    }

    async fn connect(&mut self) {
        let none = DownRoom { messages: 0, bytes: 0 };
        let header = self.store.window(&self.device, LANE, 0, none, self.now).await.unwrap();
        let Some(header) = header else { return };
        if self.position.0 != header.stream {
            self.position = (header.stream, 0, Tag(0));
        }
        self.acknowledge(true).await;
        // What the device is behind was acknowledged by it before.
        self.connection = Some((VecDeque::new(), self.position.1));
    }

    async fn acknowledge(&mut self, resumed: bool) {
        let (stream, up_to, tag) = self.position;
        let acknowledgement = Acknowledgement { stream, up_to, tag, rejected: Vec::new(), resumed };
        match self.store.acknowledge(&self.device, acknowledgement, self.now).await.unwrap() {
            Acknowledged::Settled(settled) => {
                settled.into_iter().for_each(|(id, state)| self.gone(id, state));
            }
            Acknowledged::UnknownStream => assert!(!resumed),
            Acknowledged::Diverged => panic!("the store is not older"),
        }
    }

    async fn send(&mut self) {
        let Some((_, last)) = &self.connection else { return };
        let room = DownRoom {
            messages: self.random.random_range(1..6),
            bytes: self.random.random_range(0..300),
        };
        let window = self.store.window(&self.device, LANE, *last, room, self.now).await.unwrap();
        let window = window.unwrap();
        window.expired.into_iter().for_each(|id| self.gone(id, DownState::Expired));
        let Some((flying, last)) = &mut self.connection else { return };
        for entry in window.entries {
            let (from, to) = match &entry {
                DownEntry::Message(message) => (message.sequence, message.sequence),
                DownEntry::Void { from, to, .. } => (*from, *to),
            };
            assert_eq!(from, *last + 1, "no gap");
            *last = to;
            flying.push_back(entry);
        }
    }

    fn receive(&mut self) {
        let Some((flying, _)) = &mut self.connection else { return };
        let count = self.random.random_range(0..=flying.len());
        for entry in flying.drain(..count) {
            match entry {
                DownEntry::Message(message) => {
                    assert_eq!(message.sequence, self.position.1 + 1);
                    let state = self.settled.get(&message.id);
                    assert_eq!(state, None, "{} arrives and is settled", message.id);
                    let later = self.arrived.last().is_none_or(|last| *last < message.id);
                    assert!(later, "{} arrives in order, and once", message.id);
                    self.arrived.insert(message.id);
                    self.position = (self.position.0, message.sequence, message.id);
                }
                DownEntry::Void { to, .. } => self.position = (self.position.0, to, Tag(0)),
            }
        }
    }

    async fn cancel(&mut self) {
        let id = Tag(self.random.random_range(0..self.next));
        let before = self.settled.get(&id).copied();
        match self.store.cancel_message(&self.device, id, self.now).await.unwrap() {
            Cancelled::Dropped => {
                self.gone(id, DownState::Dropped(DropReason::Cancelled));
            }
            Cancelled::Settled(state) => assert_eq!(Some(state), before),
            Cancelled::AlreadySent | Cancelled::Unknown => assert_eq!(before, None),
        }
    }

    /// Hands out a part of what waits, which arrives.
    pub(crate) async fn deliver(&mut self) {
        self.connect().await;
        self.send().await;
        while self.connection.as_ref().is_some_and(|(flying, _)| !flying.is_empty()) {
            self.receive();
        }
        self.acknowledge(false).await;
    }

    /// Whether all messages are settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.len() as u64 + 1 == self.next
    }
}
