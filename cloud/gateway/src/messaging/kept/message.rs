//! A kept message as the handler sees it, and what the handler stores with it.

use std::fmt;
use std::time::SystemTime;

use fedecks_protocol::{Lane, StreamId, Tag, Term};

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

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").field("stored", &self.stored).finish_non_exhaustive()
    }
}
