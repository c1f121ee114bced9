//! Brings the events of one webhook into the store, and from there to its receiver.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use fedecks_store::{OutboxEntry, OutboxItem, OutboxStore, unix_now};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::counters::Counters;
use super::delivery::{Outcome, Receiver};
use super::lanes::{Lanes, Next, Waiting};
use crate::config::Webhook;
use crate::error::ServerError;
use crate::event_kind::EventKind;
use crate::events::{EventLog, Feed, Filter, Item};

/// Brings the events of one webhook into the store, and from there to its receiver.
pub(super) struct Worker {
    webhook: Webhook,
    store: Arc<dyn OutboxStore>,
    feed: Feed,
    receiver: Receiver,
    lanes: Lanes,
    underway: JoinSet<(Next, Delivered)>,
    /// Out of the feed, and not in the store yet.
    unkept: Vec<OutboxEntry>,
    /// Delivered or given up, and still in the store.
    unremoved: Vec<(u64, String)>,
    /// When the store failed: what waits for it is tried again then.
    store_due: Option<Instant>,
    /// Until when the receiver wants nothing.
    pause: Option<Instant>,
    /// The id of the event behind each number of the lanes.
    ids: HashMap<u64, String>,
    counters: Arc<Counters>,
    /// In which epoch of the store the lanes were read.
    epoch: u64,
    /// The receiver failed last time: that it still does is told at a lower level.
    failing: bool,
}

/// What became of one that was on its way.
enum Delivered {
    Outcome(Outcome),
    /// It is not in the store any more.
    Missing,
    /// The store cannot be read now.
    Unread(String),
}

/// How many events are put into the store at a time.
const BATCH: usize = 256;

/// How often it is seen whether a back-up took the store's place.
const STORE_LOOK: Duration = Duration::from_secs(1);

/// How long to wait when the store fails.
const STORE_WAIT: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn new(
        webhook: &Webhook,
        store: Arc<dyn OutboxStore>,
        events: &EventLog,
        counters: Arc<Counters>,
    ) -> Result<Self, ServerError> {
        let filter = Filter {
            devices: webhook.devices.clone().into_iter().collect(),
            kinds: webhook.kinds.clone(),
        };
        Ok(Self {
            webhook: webhook.clone(),
            store,
            // From now on, whatever the store still has to say first.
            feed: events.follow(None, filter),
            receiver: Receiver::new(webhook, webhook.signing_secret()?)?,
            lanes: Lanes::default(),
            ids: HashMap::new(),
            epoch: 0,
            underway: JoinSet::new(),
            unkept: Vec::new(),
            unremoved: Vec::new(),
            store_due: None,
            pause: None,
            counters,
            failing: false,
        })
    }

    /// Goes on until the receiver wants nothing any more, or the server has ended: then what happened
    /// last is put into the store, for its next start.
    pub(super) async fn work(mut self, mut ended: watch::Receiver<bool>) {
        tokio::select! {
            () = self.go_on() => return,
            _ = ended.wait_for(|ended| *ended) => {}
        }
        loop {
            self.fill();
            if self.unkept.is_empty() {
                return;
            }
            self.keep().await;
            if !self.unkept.is_empty() {
                tokio::time::sleep(STORE_WAIT).await;
            }
        }
    }

    async fn go_on(&mut self) {
        self.load().await;
        loop {
            if self.store.epoch() != self.epoch {
                // A back-up may have taken its place, in which the numbers stand for other events.
                self.underway = JoinSet::new();
                self.lanes = Lanes::default();
                self.ids.clear();
                self.load().await;
            }
            // Too many may wait from the start: the configuration may be another one now.
            self.shorten().await;
            self.send();
            self.counters.pending.store(self.lanes.len() as u64, Ordering::Relaxed);
            self.counters.pending_bytes.store(self.lanes.bytes(), Ordering::Relaxed);
            // At times it has to be seen whether the store is another one.
            let look = Instant::now() + STORE_LOOK;
            let due = [self.lanes.next_due(), self.store_due, self.pause];
            // One that has passed is none: what it held up was not to be had.
            let due = due.into_iter().flatten().filter(|due| *due > Instant::now());
            let due = due.fold(look, Instant::min);
            // In no order: neither old events nor new ones wait for all of the others.
            tokio::select! {
                Some(joined) = self.underway.join_next() => {
                    // One that panicked is tried again after the next start: its lane stands still.
                    let Ok((next, delivered)) = joined else { continue };
                    if !self.settle(next, delivered).await {
                        return;
                    }
                }
                item = self.feed.next(), if self.unkept.is_empty() => {
                    self.take_up(item);
                    self.fill();
                    self.keep().await;
                }
                () = tokio::time::sleep_until(due) => {
                    if self.store_due.is_some_and(|due| due <= Instant::now()) {
                        self.keep().await;
                        self.clear().await;
                    }
                }
            }
        }
    }

    /// What an earlier run of the server has left.
    async fn load(&mut self) {
        loop {
            // Before it is read: what is replaced meanwhile is read anew the next time.
            self.epoch = self.store.epoch();
            match self.store.outbox(&self.webhook.name).await {
                Ok(mut left) => {
                    let removed: HashSet<_> = self.unremoved.iter().cloned().collect();
                    left.retain(|item| !removed.contains(&(item.sequence, item.event.clone())));
                    for OutboxItem { sequence, lane, event, bytes, at } in left {
                        self.ids.insert(sequence, event);
                        self.lanes.add(lane, Waiting { sequence, bytes, at });
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        webhook = self.webhook.name,
                        %error,
                        "cannot read what is to be delivered, trying again"
                    );
                    tokio::time::sleep(STORE_WAIT).await;
                }
            }
        }
    }

    /// Sends as many as may be on their way.
    fn send(&mut self) {
        if self.pause.is_some_and(|until| until > Instant::now()) {
            return;
        }
        self.pause = None;
        while self.underway.len() < self.webhook.concurrency {
            let Some(next) = self.lanes.take(Instant::now()) else { return };
            let (store, receiver) = (self.store.clone(), self.receiver.clone());
            let webhook = self.webhook.name.clone();
            self.underway.spawn(async move {
                let delivered = match store.outbox_body(&webhook, next.sequence).await {
                    Ok(Some(entry)) => {
                        let body = Bytes::from(entry.body);
                        Delivered::Outcome(receiver.deliver(&entry.event, unix_now(), body).await)
                    }
                    Ok(None) => Delivered::Missing,
                    Err(error) => Delivered::Unread(error.to_string()),
                };
                (next, delivered)
            });
        }
    }

    /// Draws the conclusion from a delivery. Whether to go on.
    async fn settle(&mut self, next: Next, delivered: Delivered) -> bool {
        let (why, receiver_failed) = match delivered {
            Delivered::Outcome(Outcome::Taken) => {
                Counters::add(&self.counters.delivered, 1);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(webhook = self.webhook.name, "the receiver takes events again");
                }
                self.remove(&next).await;
                return true;
            }
            Delivered::Missing => {
                self.ids.remove(&next.sequence);
                self.lanes.done(&next.lane);
                return true;
            }
            Delivered::Outcome(Outcome::Gone) => {
                tracing::error!(
                    webhook = self.webhook.name,
                    "the receiver answered 410 Gone: nothing is delivered until the next start"
                );
                return false;
            }
            Delivered::Outcome(Outcome::Failed { why, retry_after }) => {
                Counters::add(&self.counters.failed, 1);
                if let Some(wait) = retry_after {
                    self.pause = self.pause.max(Some(Instant::now() + wait));
                }
                (why, true)
            }
            Delivered::Unread(why) => (why, false),
        };
        if unix_now().saturating_sub(next.at) > self.webhook.max_age.as_secs() {
            Counters::add(&self.counters.dropped, 1);
            tracing::warn!(webhook = self.webhook.name, lane = next.lane, why, "gave an event up");
            self.remove(&next).await;
            return true;
        }
        let again_in = if receiver_failed {
            self.lanes.failed(&next.lane, Instant::now(), rand::random()).as_secs()
        } else {
            self.lanes.hold(&next.lane, Instant::now() + STORE_WAIT);
            STORE_WAIT.as_secs()
        };
        if std::mem::replace(&mut self.failing, true) {
            tracing::debug!(webhook = self.webhook.name, why, again_in, "not delivered");
        } else {
            tracing::warn!(webhook = self.webhook.name, why, again_in, "not delivered");
        }
        true
    }

    /// Takes one out of its lane and the store.
    async fn remove(&mut self, next: &Next) {
        self.lanes.done(&next.lane);
        let events = self.with_ids(vec![next.sequence]);
        self.unremoved.extend(events);
        self.clear().await;
    }

    /// Removes from the store what is done with. What cannot be removed now is tried again; if the
    /// server ends before, it is delivered once more after the next start.
    async fn clear(&mut self) {
        if self.unremoved.is_empty() {
            return;
        }
        match self.store.outbox_remove(&self.webhook.name, self.unremoved.clone()).await {
            Ok(()) => self.unremoved.clear(),
            Err(error) => {
                tracing::warn!(
                    webhook = self.webhook.name,
                    %error,
                    "cannot remove what is delivered, trying again"
                );
                self.store_due = Some(Instant::now() + STORE_WAIT);
            }
        }
    }

    /// Takes out of the feed what is there already.
    fn fill(&mut self) {
        while self.unkept.len() < BATCH {
            let Some(item) = self.feed.try_next() else { break };
            self.take_up(item);
        }
    }

    /// Puts into the store what was taken in. While that fails, the event log keeps what comes, up to
    /// its bounds.
    async fn keep(&mut self) {
        if self.unkept.is_empty() {
            return;
        }
        let now = unix_now();
        match self.store.outbox_add(&self.webhook.name, self.unkept.clone(), now).await {
            Ok(numbers) => {
                for (entry, sequence) in self.unkept.drain(..).zip(numbers) {
                    self.ids.insert(sequence, entry.event);
                    let bytes = entry.body.len() as u64;
                    self.lanes.add(entry.lane, Waiting { sequence, bytes, at: now });
                }
            }
            Err(error) => {
                tracing::warn!(
                    webhook = self.webhook.name,
                    %error,
                    "cannot keep events in the store, trying again"
                );
                self.store_due = Some(Instant::now() + STORE_WAIT);
            }
        }
    }

    /// Numbers that are done with, and the ids of their events.
    fn with_ids(&mut self, sequences: Vec<u64>) -> Vec<(u64, String)> {
        let id = |sequence| Some((sequence, self.ids.remove(&sequence)?));
        sequences.into_iter().filter_map(id).collect()
    }

    fn take_up(&mut self, item: Item) {
        match item {
            Item::Event(recorded) => {
                // Who is refused may have said any device's id: that one's own events don't wait for it.
                let device = match recorded.event.kind() {
                    EventKind::Refused => None,
                    EventKind::Connected
                    | EventKind::Disconnected
                    | EventKind::Message
                    | EventKind::RawMessage
                    | EventKind::Sent
                    | EventKind::RawSent
                    | EventKind::Revoked
                    | EventKind::Blocked
                    | EventKind::Unblocked => recorded.event.device.as_ref(),
                };
                let lane = device.map(ToString::to_string);
                let event = recorded.id();
                let body = recorded.event.to_json(&event);
                self.unkept.push(OutboxEntry { lane: lane.unwrap_or_default(), event, body });
            }
            Item::Gap { .. } => {
                Counters::add(&self.counters.dropped, 1);
                tracing::warn!(
                    webhook = self.webhook.name,
                    "events were too many to be kept, some are not delivered"
                );
            }
        }
    }

    /// Gives up the oldest of what is too much.
    async fn shorten(&mut self) {
        let mut dropped = Vec::new();
        while self.lanes.len() > self.webhook.keep || self.lanes.bytes() > self.webhook.keep_bytes {
            let Some(sequence) = self.lanes.drop_oldest() else { break };
            dropped.push(sequence);
        }
        if dropped.is_empty() {
            return;
        }
        Counters::add(&self.counters.dropped, dropped.len());
        tracing::warn!(
            webhook = self.webhook.name,
            dropped = dropped.len(),
            "too many events wait for the receiver, gave the oldest up"
        );
        let events = self.with_ids(dropped);
        self.unremoved.extend(events);
        self.clear().await;
    }
}
