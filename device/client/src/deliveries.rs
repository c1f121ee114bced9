//! Kept messages from the cloud: those who acknowledge them, and the events where no consumer does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

#[doc(inline)]
pub use fedecks_device_core::InboxStatus;
use fedecks_device_core::{Action, Connection, DeliveryKey, Event, KeptDelivery, Outcome};
use fedecks_protocol::{Content, Term, TermError};
#[doc(inline)]
pub use fedecks_protocol::{Lane, Tag};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::clock::BootClock;
use crate::events::Publisher;
use crate::storage::PositionsFile;
use crate::traffic::TrafficCounters;

/// The kept messages of a lane, for the one who acknowledges them; see
/// [`Client::deliveries`](crate::Client::deliveries). Others can take the lane when this is dropped.
pub struct Deliveries {
    shared: Arc<Shared>,
    lane: Lane,
}

/// A kept message from the cloud. Dropped without [`Delivery::ack`] or [`Delivery::reject`], it comes again after a
/// second, flagged, and those behind it in its lane wait.
pub struct Delivery {
    shared: Arc<Shared>,
    /// `None` once it is acknowledged or rejected.
    kept: Option<KeptDelivery>,
    id: Tag,
}

/// Another consumer has the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another consumer has the lane {0}")]
#[non_exhaustive]
pub struct LaneInUse(pub Lane);

/// A message that was given back comes again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What the client and its loop share.
#[derive(Debug, Clone)]
pub(crate) struct Lanes(Arc<Shared>);

/// The end of the loop.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    traffic: TrafficCounters,
    positions: Option<PositionsFile>,
    /// The positions could not be stored the last time.
    is_failing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the consumer of each lane.
    arrived: [Notify; Lane::ALL.len()],
    /// Wakes the loop.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: [LaneState; Lane::ALL.len()],
    /// What consumers did with messages, for the core.
    outcomes: Vec<(DeliveryKey, Outcome)>,
    stopped: bool,
}

/// What waits is bounded by the core, which has a limit for all that is not acknowledged.
#[derive(Debug, Default)]
struct LaneState {
    /// In the order in which they came.
    waiting: VecDeque<KeptDelivery>,
    has_consumer: bool,
    /// There is a consumer, or was one: messages wait for the next one.
    is_claimed: bool,
    /// Nothing is handed over before this time.
    not_before: Option<Instant>,
}

/// `wait` is for messages that wait for a consumer from the start.
pub(crate) fn lanes(
    wait: bool,
    positions: Option<PositionsFile>,
    traffic: TrafficCounters,
) -> (Lanes, Dispatcher) {
    let shared = Arc::new(Shared::default());
    for lane in &mut shared.lock().lanes {
        lane.is_claimed = wait;
    }
    let dispatcher =
        Dispatcher { shared: Arc::clone(&shared), traffic, positions, is_failing: false };
    (Lanes(shared), dispatcher)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, lane: Lane) {
        let [normal, urgent] = &self.arrived;
        match lane {
            Lane::Normal => normal.notify_one(),
            Lane::Urgent => urgent.notify_one(),
        }
    }

    async fn arrival(&self, lane: Lane) {
        let [normal, urgent] = &self.arrived;
        match lane {
            Lane::Normal => normal.notified().await,
            Lane::Urgent => urgent.notified().await,
        }
    }

    fn settle(&self, key: DeliveryKey, outcome: Outcome) {
        self.lock().outcomes.push((key, outcome));
        self.changed.notify_one();
    }
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut LaneState {
        let [normal, urgent] = &mut self.lanes;
        match lane {
            Lane::Normal => normal,
            Lane::Urgent => urgent,
        }
    }
}

impl Lanes {
    pub(crate) fn consume(&self, lane: Lane) -> Result<Deliveries, LaneInUse> {
        let mut state = self.0.lock();
        let it = state.lane(lane);
        if it.has_consumer {
            return Err(LaneInUse(lane));
        }
        it.has_consumer = true;
        it.is_claimed = true;
        Ok(Deliveries { shared: Arc::clone(&self.0), lane })
    }

    /// There is another reader of events, perhaps the first.
    pub(crate) fn on_reader(&self) {
        self.0.changed.notify_one();
    }
}

impl Dispatcher {
    /// Returns when there may be something to [settle](Self::settle).
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    pub(crate) fn on_action(&mut self, action: Action) {
        if let Action::DeliverKept(delivery) = action {
            self.traffic.message_received();
            let lane = delivery.lane;
            self.shared.lock().lane(lane).waiting.push_back(delivery);
            self.shared.wake(lane);
            self.shared.changed.notify_one();
        } else if let Action::StorePositions(positions) = action {
            let Some(file) = &self.positions else { return };
            let result = file.save(&positions);
            if let (Err(error), false) = (&result, self.is_failing) {
                warn!(%error, "cannot store which kept messages are acknowledged: after a restart of this program, some may come again");
            }
            self.is_failing = result.is_err();
        }
    }

    /// Tells the core what consumers did, and passes on as events what waits in lanes that never had one.
    pub(crate) fn settle(&self, events: &Publisher, core: &mut Connection) {
        let has_readers = events.has_readers();
        let (outcomes, unclaimed) = {
            let mut state = self.shared.lock();
            let outcomes = std::mem::take(&mut state.outcomes);
            let mut unclaimed = Vec::new();
            for lane in state.lanes.iter_mut().filter(|it| has_readers && !it.is_claimed) {
                unclaimed.extend(lane.waiting.drain(..));
            }
            (outcomes, unclaimed)
        };
        for (key, outcome) in outcomes {
            core.handle_acknowledge(BootClock::now(), key, outcome);
        }
        for delivery in unclaimed {
            match delivery.content {
                Content::Term(term) => events.publish_message(term),
                Content::Raw(bytes) => events.publish(Event::RawMessage(bytes)),
            }
            core.handle_acknowledge(BootClock::now(), delivery.key, Outcome::Processed);
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        Lane::ALL.into_iter().for_each(|lane| self.shared.wake(lane));
    }
}

impl Deliveries {
    /// The next message, which may come before the one before is acknowledged: up to 64 messages or 256 KiB. `None`
    /// after the end of the client. Cancel safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let not_before = {
                let mut state = self.shared.lock();
                if state.stopped {
                    return None;
                }
                let lane = state.lane(self.lane);
                lane.not_before = lane.not_before.filter(|at| *at > Instant::now());
                if lane.not_before.is_none() {
                    if let Some(kept) = lane.waiting.pop_front() {
                        let (shared, id) = (Arc::clone(&self.shared), kept.id);
                        return Some(Delivery { shared, kept: Some(kept), id });
                    }
                }
                lane.not_before
            };
            match not_before {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.shared.arrival(self.lane) => {}
                },
                None => self.shared.arrival(self.lane).await,
            }
        }
    }

    /// The lane.
    pub fn lane(&self) -> Lane {
        self.lane
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.shared.lock().lane(self.lane).has_consumer = false;
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl Delivery {
    /// The id of the message, the same each time that it comes.
    pub fn id(&self) -> Tag {
        self.id
    }

    /// Whether it may have come before.
    pub fn redelivered(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.redelivered)
    }

    /// When the cloud accepted it, if its clock was plausible.
    pub fn sent_at(&self) -> Option<SystemTime> {
        let ms = self.kept.as_ref()?.sent_at_ms?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))
    }

    /// The bytes of a raw message; `None` for one with a value.
    pub fn raw(&self) -> Option<&[u8]> {
        match &self.kept.as_ref()?.content {
            Content::Raw(bytes) => Some(bytes),
            Content::Term(_) => None,
        }
    }

    /// The value; that of a raw message is its bytes.
    pub fn term(&self) -> Result<Term, TermError> {
        match self.kept.as_ref().map(|kept| &kept.content) {
            // It was checked when it was received.
            Some(Content::Term(term)) => {
                term.decode().map_err(<TermError as serde::de::Error>::custom)
            }
            Some(Content::Raw(bytes)) => Ok(Term::Bytes(bytes.clone())),
            None => Ok(Term::Nil),
        }
    }

    /// The value as one of this type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, TermError> {
        self.term()?.parse()
    }

    /// The application has taken the message: it does not come again, unless the power fails before the cloud knows.
    pub fn ack(mut self) {
        self.settle(Outcome::Processed);
    }

    /// The application can never take the message: it does not come again, and the cloud learns that.
    pub fn reject(mut self) {
        self.settle(Outcome::Rejected);
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(kept) = self.kept.take() {
            self.shared.settle(kept.key, outcome);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let kept = KeptDelivery { redelivered: true, ..kept };
        let lane = kept.lane;
        {
            let mut state = self.shared.lock();
            let it = state.lane(lane);
            let place = it.waiting.partition_point(|waiting| waiting.key < kept.key);
            it.waiting.insert(place, kept);
            it.not_before = Some(Instant::now() + AGAIN);
        }
        self.shared.wake(lane);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
