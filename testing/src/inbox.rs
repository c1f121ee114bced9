//! An application that receives: it stores the ids of what it has acted on, and so acts once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::history::{Entry, History, Message};

/// Enters in a history what an application receives, and what it acts on.
#[derive(Debug)]
pub struct Inbox {
    history: Arc<History>,
    acted_on: Mutex<HashSet<String>>,
}

impl Inbox {
    /// An application that has received nothing.
    pub fn new(history: &Arc<History>) -> Self {
        Self { history: Arc::clone(history), acted_on: Mutex::default() }
    }

    /// Takes a message; one without an id cannot be recognized when it comes again.
    pub fn receive(&self, message: Message, id: Option<String>, redelivered: bool) {
        self.history.add(Entry::Received { message, id: id.clone(), redelivered });
        let is_new = id.is_none_or(|id| self.acted_on.lock().unwrap().insert(id));
        if is_new {
            self.history.add(Entry::Applied(message));
        }
    }
}
