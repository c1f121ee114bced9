//! An application that receives: it stores the ids of what it has acted on, and so acts once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use fedecks_testing::history::{Direction, Entry, History, Message};

use crate::keep::Received;

pub(crate) struct Inbox {
    direction: Direction,
    history: Arc<History>,
    acted_on: Mutex<HashSet<String>>,
}

impl Inbox {
    pub(crate) fn new(direction: Direction, history: &Arc<History>) -> Self {
        Self { direction, history: Arc::clone(history), acted_on: Mutex::default() }
    }

    pub(crate) fn receive(&self, received: Received) {
        let Received { lane, number, id, redelivered } = received;
        let message = Message { direction: self.direction, lane, number };
        self.history.add(Entry::Received { message, id: id.clone(), redelivered });
        // A message without an id cannot be recognized.
        let is_new = id.is_none_or(|id| self.acted_on.lock().unwrap().insert(id));
        if is_new {
            self.history.add(Entry::Applied(message));
        }
    }
}
