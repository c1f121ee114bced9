//! A kept message as the handler sees it, and what the handler makes of it.

use std::fmt;
use std::time::SystemTime;

use fedecks_protocol::{Lane, StreamId, Tag, Term};

use crate::handler::Outcome;

/// A message that the device keeps until it is acknowledged.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KeptMessage {
    /// Its id, which is unique for the device. A repeated message has the same one.
    pub id: Tag,
    /// Its stream.
    pub stream: StreamId,
    /// Its number in the stream.
    pub sequence: u64,
    /// Its lane.
    pub lane: Lane,
    /// It may have been handled before: the acknowledgement did not become durable, or did not reach the device.
    pub redelivered: bool,
    /// When the device accepted it, if the device's clock was plausible.
    pub sent_at: Option<SystemTime>,
    /// The content.
    pub content: KeptContent,
}

/// The content of a [`KeptMessage`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum KeptContent {
    /// A term.
    Term(Term),
    /// Bytes that the protocol does not interpret.
    Raw(Vec<u8>),
}

/// What the handler makes of a [`KeptMessage`].
#[derive(Debug)]
#[non_exhaustive]
pub enum KeptOutcome {
    /// It is handled. The effects are stored together with the position of the device, and then it is acknowledged.
    Done {
        /// What to do besides.
        outcome: Outcome,
        /// What to store.
        effects: Effects,
    },
    /// It cannot be handled now. It comes again after a while, from 1 s to 60 s, and those after it in its lane wait.
    Later,
    /// It will never be handled. It is acknowledged as rejected, and the device drops it.
    Rejected {
        /// Why, for the log.
        reason: String,
    },
}

/// What is stored in one transaction with the acknowledgement of a message: all of it, or nothing.
#[derive(Default)]
#[non_exhaustive]
pub struct Effects {
    /// What the store takes.
    pub stored: fedecks_store::Effects,
    /// Called once it is stored.
    pub then: Option<Box<dyn FnOnce() + Send>>,
}

impl Effects {
    /// These, and nothing to call.
    pub fn new(stored: fedecks_store::Effects) -> Self {
        Self { stored, then: None }
    }

    /// Calls `then` once they are stored. It must not block.
    #[must_use]
    pub fn then(mut self, then: impl FnOnce() + Send + 'static) -> Self {
        self.then = Some(Box::new(then));
        self
    }

    /// About how many bytes they take in memory.
    pub(crate) fn size(&self) -> usize {
        let logged = self.stored.log.as_ref().map_or(0, |log| match &log.content {
            fedecks_store::LoggedContent::Json(body) | fedecks_store::LoggedContent::Raw(body) => {
                body.len()
            }
        });
        let queued = self.stored.enqueue.iter().map(|enqueue| enqueue.item.body.len() + 256);
        256 + logged + queued.sum::<usize>()
    }
}

impl KeptOutcome {
    /// It is handled, and nothing is to be stored but that.
    pub fn done() -> Self {
        Outcome::Ok.into()
    }
}

impl From<Outcome> for KeptOutcome {
    fn from(outcome: Outcome) -> Self {
        Self::Done { outcome, effects: Effects::default() }
    }
}

impl From<Effects> for KeptOutcome {
    fn from(effects: Effects) -> Self {
        Self::Done { outcome: Outcome::Ok, effects }
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").field("stored", &self.stored).finish_non_exhaustive()
    }
}
