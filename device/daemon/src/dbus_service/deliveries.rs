//! Kept messages from the cloud on D-Bus: in each lane, one program on the bus takes and acknowledges them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fedecks_dbus::{Device1Error, Dictionary, Variant};
use fedecks_device::Client;
use fedecks_device::deliveries::{Deliveries, Delivery, Lane, Tag};
use fedecks_protocol::Term;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use zbus::Connection;
use zbus::names::UniqueName;

use super::departure::{is_on_bus, left};

/// A message for its consumer: the id, which is empty if there is none, the content and the details.
pub(super) type Given = (String, Variant, Dictionary);

/// The programs that take kept messages from the cloud. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Consumers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// At most one for each lane.
    consumers: Vec<Consumer>,
    /// How often messages were given to programs that are not done with them, those of the last time at the end.
    tries: VecDeque<(Tag, u32)>,
}

struct Consumer {
    lane: Lane,
    name: String,
    deliveries: Arc<AsyncMutex<Deliveries>>,
    /// What it was given and has neither acknowledged nor rejected. The client bounds it: the cloud sends up to 64
    /// messages, or 256 KiB, before they are acknowledged. Dropped, they come again.
    given: HashMap<Tag, Delivery>,
    /// Closed when the program leaves.
    present: watch::Sender<()>,
}

/// The messages of a lane, and what is closed when the program leaves.
type Claim = (Arc<AsyncMutex<Deliveries>>, watch::Receiver<()>);

/// How often a lane is looked at that is about to be free.
const CLAIMS: u32 = 50;

/// The time in between.
const AGAIN: Duration = Duration::from_millis(10);

/// How many messages are remembered with their number of tries: the credit of both lanes.
const MAX_TRIES: usize = 128;

/// The most of a reason for a rejection that is logged, in characters.
const MAX_REASON: usize = 256;

/// The lane of this name.
pub(super) fn lane(name: &str) -> Result<Lane, Device1Error> {
    let lane = Lane::ALL.into_iter().find(|lane| lane.as_str() == name);
    let unknown =
        || Device1Error::InvalidArgument(format!("lane {name:?}, expected normal or urgent"));
    lane.ok_or_else(unknown)
}

impl Consumers {
    /// Waits for the next message of a lane, for the caller, which takes all of them from now on until it leaves the bus.
    /// A message takes at most `max` bytes on D-Bus.
    pub(super) async fn next(
        &self,
        client: &Client,
        (caller, connection): (&UniqueName<'_>, &Connection),
        lane: Lane,
        limit: Duration,
        max: usize,
    ) -> Result<Given, Device1Error> {
        let (deliveries, mut present) = self.claim(client, caller, lane, connection).await?;
        let Ok(mut deliveries) = deliveries.try_lock() else {
            let text = format!("another call waits for the next message of the lane {lane}");
            return Err(Device1Error::Busy(text));
        };
        let delivery = tokio::select! {
            delivery = timeout(limit, deliveries.next()) => match delivery {
                Ok(Some(delivery)) => delivery,
                Ok(None) => return Err(Device1Error::GivenUp("the service ends".to_owned())),
                Err(_) => return nothing(),
            },
            // It has left, and another one may come.
            _ = present.changed() => return nothing(),
        };
        let term = delivery.term().map_err(|error| error.to_string());
        let message =
            term.and_then(|it| Variant::within(it, max).map_err(|error| error.to_string()));
        let message = match message {
            Ok(message) => message,
            Err(reason) => {
                let id = delivery.id();
                warn!(%id, reason, "rejected a kept message from the cloud that has no D-Bus form");
                delivery.reject();
                return nothing();
            }
        };
        let id = delivery.id();
        let mut state = self.lock();
        let is_here = |it: &Consumer| it.lane == lane && it.name == caller.as_str();
        let Some(at) = state.consumers.iter().position(is_here) else { return nothing() };
        let details = details(&delivery, state.count_try(id))?;
        if let Some(consumer) = state.consumers.get_mut(at) {
            consumer.given.insert(id, delivery);
        }
        Ok((id.to_string(), message, details))
    }

    /// The caller has taken a message.
    pub(super) fn acknowledge(
        &self,
        caller: &UniqueName<'_>,
        id: &str,
    ) -> Result<(), Device1Error> {
        self.take(caller, id)?.ack();
        Ok(())
    }

    /// The caller can never take a message, for this reason.
    pub(super) fn reject(
        &self,
        caller: &UniqueName<'_>,
        id: &str,
        reason: &str,
    ) -> Result<(), Device1Error> {
        let delivery = self.take(caller, id)?;
        let reason: String = reason.chars().take(MAX_REASON).collect();
        info!(id = %delivery.id(), reason, "a program has rejected a kept message from the cloud");
        delivery.reject();
        Ok(())
    }

    /// Takes back a message that the caller was given.
    fn take(&self, caller: &UniqueName<'_>, id: &str) -> Result<Delivery, Device1Error> {
        let mut state = self.lock();
        let own = state.consumers.iter_mut().filter(|it| it.name == caller.as_str());
        let tag = id.parse::<Tag>().ok();
        let delivery = tag.and_then(|tag| own.into_iter().find_map(|it| it.given.remove(&tag)));
        let Some(delivery) = delivery else {
            let text = format!("the caller has no message {id:?}; it may come again");
            return Err(Device1Error::InvalidArgument(text));
        };
        state.tries.retain(|(known, _)| *known != delivery.id());
        Ok(delivery)
    }

    /// Has the caller take the messages of a lane, unless another program on the bus does.
    async fn claim(
        &self,
        client: &Client,
        caller: &UniqueName<'_>,
        lane: Lane,
        connection: &Connection,
    ) -> Result<Claim, Device1Error> {
        for _ in 0..CLAIMS {
            match self.try_claim(client, caller, lane, connection) {
                Ok(claim) => return Ok(claim),
                // A call of one that has left has still to end.
                Err(None) => sleep(AGAIN).await,
                Err(Some(other)) => {
                    if is_on_bus(&other, connection).await.unwrap_or(true) {
                        let text = format!("{other} takes the messages of the lane {lane}");
                        return Err(Device1Error::LaneInUse(text));
                    }
                    // It was killed an instant ago, and is being started again, perhaps.
                    self.release(lane, &other);
                }
            }
        }
        let text = format!("another program has just left the lane {lane}");
        Err(Device1Error::LaneInUse(text))
    }

    /// Returns the name of the program that takes the messages, or none if that has not quite ended.
    fn try_claim(
        &self,
        client: &Client,
        caller: &UniqueName<'_>,
        lane: Lane,
        connection: &Connection,
    ) -> Result<Claim, Option<String>> {
        let mut state = self.lock();
        if let Some(consumer) = state.consumers.iter().find(|it| it.lane == lane) {
            if consumer.name == caller.as_str() {
                return Ok((Arc::clone(&consumer.deliveries), consumer.present.subscribe()));
            }
            return Err(Some(consumer.name.clone()));
        }
        let Ok(deliveries) = client.deliveries(lane) else { return Err(None) };
        let deliveries = Arc::new(AsyncMutex::new(deliveries));
        let (present, presence) = watch::channel(());
        state.consumers.push(Consumer {
            lane,
            name: caller.as_str().to_owned(),
            deliveries: Arc::clone(&deliveries),
            given: HashMap::new(),
            present,
        });
        let (consumers, name) = (self.clone(), caller.to_owned());
        let connection = connection.clone();
        tokio::spawn(async move {
            // An error means that the program is out of reach.
            let _ = left(&name, &connection).await;
            consumers.release(lane, &name);
        });
        Ok((deliveries, presence))
    }

    /// From now on, another program may take the messages of the lane.
    fn release(&self, lane: Lane, name: &str) {
        self.lock().consumers.retain(|it| it.lane != lane || it.name != name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts that a message is given to a program. Returns how often it was.
    fn count_try(&mut self, id: Tag) -> u32 {
        let known = self.tries.iter().position(|(known, _)| *known == id);
        let before = known.and_then(|at| self.tries.remove(at)).map_or(0, |(_, tries)| tries);
        if self.tries.len() >= MAX_TRIES {
            self.tries.pop_front();
        }
        let tries = before.saturating_add(1);
        self.tries.push_back((id, tries));
        tries
    }
}

fn nothing() -> Result<Given, Device1Error> {
    Ok((String::new(), Variant::new(Term::from(""))?, Dictionary::default()))
}

fn details(delivery: &Delivery, tries: u32) -> Result<Dictionary, Device1Error> {
    let mut details = vec![
        (Term::from("raw"), Term::from(delivery.raw().is_some())),
        (Term::from("redelivered"), Term::from(delivery.redelivered())),
        (Term::from("tries"), Term::from(tries)),
    ];
    let sent_at = delivery.sent_at().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    if let Some(millis) = sent_at.and_then(|at| u64::try_from(at.as_millis()).ok()) {
        details.push((Term::from("sent_at_ms"), Term::from(millis)));
    }
    Ok(Dictionary::new(details)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_tries_is_remembered_for_the_last_messages() {
        let mut state = State::default();
        let rare = Tag(1);
        assert_eq!([state.count_try(rare), state.count_try(rare)], [1, 2]);
        for other in 2..=MAX_TRIES as u64 {
            assert_eq!(state.count_try(Tag(other)), 1);
        }
        assert_eq!(state.count_try(rare), 3);
        for other in 1_000..1_000 + MAX_TRIES as u64 {
            assert_eq!(state.count_try(Tag(other)), 1);
        }
        assert_eq!((state.tries.len(), state.count_try(rare)), (MAX_TRIES, 1));
    }
}
