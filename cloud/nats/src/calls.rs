//! Calls to the node of a device, on whichever instance it is.

use std::time::Duration;

use fedecks_cloud::messaging::backplane::Payload;
use fedecks_cloud::messaging::{BackplaneError, DeliverError, Presence, RequestError};
use fedecks_cloud::{DeviceId, Term};
use fedecks_delivery::clamp_timeout;
use fedecks_protocol::{CloseReason, EncodeError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::fleet::Entry;
use crate::shared::Shared;
use crate::waiting::Outcome;
use crate::wire::{Answer, Call, Instance, Letter};

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nothing was sent: it is too big.
    Encode(EncodeError),
    /// It has reached no node.
    NotReached(BackplaneError),
    /// It may have arrived or not.
    Unknown,
}

/// The ids of bells, which have no answer: one that the device's node should have, and one that was passed on by the node
/// that the device has left, which is not passed on again.
pub(crate) const FIRST_HAND: u64 = 0;
pub(crate) const PASSED_ON: u64 = 1;

/// A node has answered another kind of call.
const OTHER: &str = "a node has answered something else";

/// The search for a device that was not where its presence says.
pub(crate) struct Search<'a> {
    shared: &'a Shared,
    until: Instant,
    changed: watch::Receiver<u64>,
}

/// Cancels a request if it is dropped before the answer.
struct Cancel<'a> {
    shared: &'a Shared,
    peer: Instance,
    id: u64,
    is_armed: bool,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.shared.post(self.peer, &Letter::Cancel { from: self.shared.me, id: self.id });
        }
    }
}

impl Search<'_> {
    /// Waits until the device's presence is another one; returns false if it does not change for too long.
    pub(crate) async fn moves(&mut self, presence: &Presence) -> bool {
        loop {
            self.changed.mark_unchanged();
            let entry = self.shared.entry(&presence.device);
            if entry.is_none_or(|entry| entry.presence.connection != presence.connection) {
                return true;
            }
            if !matches!(timeout_at(self.until, self.changed.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
    }
}

impl Shared {
    pub(crate) fn entry(&self, device: &DeviceId) -> Option<Entry> {
        self.presences.lock().fleet.get(device).cloned()
    }

    /// Begins to look for the device: where it was not found, its presence may change for a while.
    pub(crate) fn search(&self) -> Search<'_> {
        let until = Instant::now() + self.times.call;
        Search { shared: self, until, changed: self.changed.subscribe() }
    }

    pub(crate) async fn deliver(
        &self,
        entry: &Entry,
        payload: &Payload,
    ) -> Result<(), DeliverError> {
        let device = &entry.presence.device;
        if entry.owner == self.me {
            let node = self.node(entry.presence.connection.node());
            let node = node.ok_or(DeliverError::NotConnected)?;
            return node.deliver(device, payload);
        }
        match self.call(entry, Call::Deliver(payload.clone()), self.times.call).await? {
            Answer::Delivered(result) => result,
            Answer::Closed(_) | Answer::Answered(_) => Err(BackplaneError::new(OTHER).into()),
        }
    }

    pub(crate) async fn close(
        &self,
        entry: &Entry,
        reason: CloseReason,
    ) -> Result<bool, BackplaneError> {
        if entry.owner == self.me {
            let node = self.node(entry.presence.connection.node());
            return Ok(node.is_some_and(|node| node.close(&entry.presence.device, reason)));
        }
        match self.call(entry, Call::Close(reason), self.times.call).await? {
            Answer::Closed(closed) => Ok(closed),
            Answer::Delivered(_) | Answer::Answered(_) => Err(BackplaneError::new(OTHER)),
        }
    }

    /// Sends a call to another instance, and waits for its answer.
    pub(crate) async fn call(
        &self,
        entry: &Entry,
        call: Call,
        wait: Duration,
    ) -> Result<Answer, Unanswered> {
        let deadline = Instant::now() + wait;
        let is_request = matches!(call, Call::Ask { .. });
        let mut waiting = self.waiting.begin(entry.owner);
        let id = waiting.id;
        self.send_call(entry, id, call, Some(format!("{}{id:x}", self.answers(self.me))))?;
        let mut cancel = Cancel { shared: self, peer: entry.owner, id, is_armed: is_request };
        let outcome = timeout_at(deadline, &mut waiting.outcome).await;
        cancel.is_armed = is_request && outcome.is_err();
        match outcome {
            Ok(Ok(Outcome::Answer(answer))) => Ok(answer),
            Ok(Ok(Outcome::NoResponders)) => {
                let why = "the node of the device is not connected to NATS";
                Err(Unanswered::NotReached(BackplaneError::new(why)))
            }
            Ok(Err(_)) | Err(_) => Err(Unanswered::Unknown),
        }
    }

    pub(crate) fn send_call(
        &self,
        entry: &Entry,
        id: u64,
        call: Call,
        reply: Option<String>,
    ) -> Result<(), Unanswered> {
        let (node, device) = (entry.presence.connection.node(), entry.presence.device.clone());
        let letter = Letter::Call { from: self.me, id, node, device, call };
        let payload = letter.encode().map_err(Unanswered::Encode)?;
        let (size, limit) = (payload.len(), self.max_payload());
        if size > limit {
            return Err(Unanswered::Encode(EncodeError::TooBig { size, limit }));
        }
        let sent = self.send(self.letters(entry.owner), reply, payload);
        sent.map_err(Unanswered::NotReached)
    }

    /// Asks the device of an entry, until a time.
    pub(crate) async fn ask(
        &self,
        entry: &Entry,
        question: &Term,
        until: Instant,
    ) -> Result<Term, RequestError> {
        let timeout = clamp_timeout(until.saturating_duration_since(Instant::now()));
        if entry.owner == self.me {
            let node = self.node(entry.presence.connection.node());
            let node = node.ok_or(RequestError::NotConnected)?;
            return node.ask(&entry.presence.device, question, timeout).await;
        }
        let call = Call::Ask { question: question.clone(), timeout };
        // Its node says that there was no answer in time, unless that is lost.
        match self.call(entry, call, timeout + self.times.call).await {
            Ok(Answer::Answered(answer)) => answer,
            Err(Unanswered::Encode(error)) => Err(error.into()),
            Err(Unanswered::NotReached(error)) => Err(error.into()),
            Ok(_) | Err(Unanswered::Unknown) => Err(RequestError::OutcomeUnknown),
        }
    }
}

impl From<Unanswered> for DeliverError {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Encode(error) => Self::Encode(error),
            Unanswered::NotReached(_) | Unanswered::Unknown => Self::Backplane(error.into()),
        }
    }
}

impl From<Unanswered> for BackplaneError {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Encode(error) => Self::new(error.to_string()),
            Unanswered::NotReached(error) => error,
            Unanswered::Unknown => Self::new("the node of the device does not answer"),
        }
    }
}
