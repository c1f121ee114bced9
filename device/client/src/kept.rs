//! Messages that are kept until the cloud has acknowledged them: how, and with which outcome.

use std::collections::HashMap;
use std::time::Duration;

#[doc(inline)]
pub use fedecks_device_core::{
    DiskQueueStatus, KeepError, LaneQueueStatus, Place, QueueStatus, Settled,
};
use fedecks_protocol::TermError;
#[doc(inline)]
pub use fedecks_protocol::{Lane, SkipReason, Tag};
use tokio::sync::oneshot;

use crate::error::Stopped;

/// How a message is kept.
///
/// ```no_run
/// # async fn example(client: &fedecks_device::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use fedecks_device::kept::{Keep, Settled};
///
/// let alarm = Keep::on_disk().urgent().expires_in(Duration::from_secs(3600));
/// let kept = client.send_kept(&("smoke", true), alarm).await?;
/// println!("{} is in the queue", kept.id());
/// assert_eq!(kept.settled().await?, Settled::Delivered);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keep {
    /// The lane.
    pub lane: Lane,
    /// How long it is kept at most.
    pub expires_in: Duration,
    /// Where.
    pub place: Place,
}

impl Keep {
    /// How long a message is kept by default: a week.
    pub const EXPIRES_IN: Duration = Duration::from_secs(7 * 24 * 3600);

    /// The longest that a message is kept: 365 days.
    pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    /// In the memory of this process, which the end of the process or of the power loses.
    pub fn in_memory() -> Self {
        Self { lane: Lane::Normal, expires_in: Self::EXPIRES_IN, place: Place::Memory }
    }

    /// On disk, in the folder `queue` of the data directory, which a power cut does not lose. The message is accepted
    /// when the cloud has acknowledged it, which is faster while there is a connection, or when it is written: within
    /// 5 s, as several are written at once. If that fails, it is an error within 15 s, and the message waits in memory:
    /// see [`KeepError::Disk`].
    pub fn on_disk() -> Self {
        Self { place: Place::Disk { sync: false }, ..Self::in_memory() }
    }

    /// On disk, where it is written at once. Each one costs the flash several writes.
    #[must_use]
    pub fn sync(self) -> Self {
        Self { place: Place::Disk { sync: true }, ..self }
    }

    /// In the urgent lane, which goes first, and in which nothing is dropped to make room.
    #[must_use]
    pub fn urgent(self) -> Self {
        Self { lane: Lane::Urgent, ..self }
    }

    /// For so long, from one second to [`Keep::LONGEST`]. Then it is dropped, and counts as lost.
    #[must_use]
    pub fn expires_in(self, expires_in: Duration) -> Self {
        let expires_in = expires_in.clamp(Duration::from_secs(1), Self::LONGEST);
        Self { expires_in, ..self }
    }
}

/// A message that is kept. Dropping this changes nothing.
#[derive(Debug)]
pub struct Kept {
    pub(crate) id: Tag,
    pub(crate) settled: oneshot::Receiver<Settled>,
}

impl Kept {
    /// The id of the message, which the cloud sees too.
    pub fn id(&self) -> Tag {
        self.id
    }

    /// Whether the outcome is known.
    pub fn is_settled(&self) -> bool {
        !self.settled.is_empty() || self.settled.is_terminated()
    }

    /// Waits for the outcome, however long that takes. [`Stopped`] if the client was
    /// shut down before: then it is lost, or arrived without this end knowing, or is on disk and sent after the next start.
    pub async fn settled(mut self) -> Result<Settled, Stopped> {
        self.settled_mut().await
    }

    /// [`Kept::settled`] for those who wait in parts. Cancel safe. Not to be called after it has returned.
    pub async fn settled_mut(&mut self) -> Result<Settled, Stopped> {
        (&mut self.settled).await.map_err(|_| Stopped)
    }
}

/// Those who may wait for the outcome of kept messages.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    waiting: HashMap<Tag, oneshot::Sender<Settled>>,
    /// How many there were when those without a waiting caller were forgotten.
    last: usize,
}

impl Outcomes {
    pub(crate) fn keep(&mut self, id: Tag) -> Kept {
        // Most callers drop it, and a disk holds many messages.
        if self.waiting.len() >= 2 * self.last.max(64) {
            self.waiting.retain(|_, waiting| !waiting.is_closed());
            self.last = self.waiting.len();
        }
        let (sender, settled) = oneshot::channel();
        self.waiting.insert(id, sender);
        Kept { id, settled }
    }

    pub(crate) fn settle(&mut self, id: Tag, settled: Settled) {
        if let Some(waiting) = self.waiting.remove(&id) {
            // The caller may not want to know.
            let _ = waiting.send(settled);
        }
    }

    /// Nothing is kept any more, and the ids of what was on disk only are not known.
    pub(crate) fn settle_all(&mut self, settled: Settled) {
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.send(settled);
        }
    }
}

/// Why a message is not kept.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendKeptError {
    /// The value cannot be represented as a [`Term`](crate::Term).
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// The queue is full, or the value is too big or too deeply nested.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The client was shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
