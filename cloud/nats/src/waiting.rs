//! The calls of this instance that wait for an answer.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::wire::{Answer, Instance};

/// How a call has ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Answer),
    /// Nothing has received it.
    NoResponders,
}

#[derive(Default)]
pub(crate) struct Waiting(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    last: u64,
    calls: HashMap<u64, (Instance, oneshot::Sender<Outcome>), RandomState>,
}

/// A call that waits until it is dropped.
pub(crate) struct Wait<'a> {
    pub(crate) id: u64,
    /// Fails if there will be no answer.
    pub(crate) outcome: oneshot::Receiver<Outcome>,
    waiting: &'a Waiting,
}

impl Waiting {
    pub(crate) fn begin(&self, peer: Instance) -> Wait<'_> {
        let (sender, outcome) = oneshot::channel();
        let mut calls = self.0.lock();
        calls.last += 1;
        let id = calls.last;
        calls.calls.insert(id, (peer, sender));
        Wait { id, outcome, waiting: self }
    }

    /// The answer to a call; `None` if it is not decodable.
    pub(crate) fn answer(&self, id: u64, outcome: Option<Outcome>) {
        let call = self.0.lock().calls.remove(&id);
        if let (Some((_, sender)), Some(outcome)) = (call, outcome) {
            // The caller may have given up.
            let _ = sender.send(outcome);
        }
    }

    /// This instance will not answer any more.
    pub(crate) fn gone(&self, peer: Instance) {
        self.0.lock().calls.retain(|_, (of, _)| *of != peer);
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiting.0.lock().calls.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_ends_with_its_answer_or_its_peer() {
        let waiting = Waiting::default();
        let (mut one, mut two) = (waiting.begin(Instance(1)), waiting.begin(Instance(2)));
        waiting.answer(one.id, Some(Outcome::Answer(Answer::Closed(true))));
        assert!(matches!((&mut one.outcome).await, Ok(Outcome::Answer(Answer::Closed(true)))));
        waiting.gone(Instance(2));
        assert!((&mut two.outcome).await.is_err());
        let dropped = waiting.begin(Instance(1)).id;
        waiting.answer(dropped, Some(Outcome::NoResponders));
        assert!(waiting.0.lock().calls.is_empty());
    }
}
