//! Kept messages for devices: what programs give to the hub, and what all sessions share to send them.

mod send;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use fedecks_protocol::{DeviceId, EncodeError, Lane, Tag, TermError};
use fedecks_store::{Clock, DeviceQueueStore, DownLimits, DownState, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How a message for a device is kept.
///
/// ```
/// use fedecks_cloud::messaging::KeepDown;
///
/// let keep = KeepDown::default().with(|it| it.collapse_key = Some("target".to_owned()));
/// assert_eq!(keep.expires_in.as_secs(), 24 * 60 * 60);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepDown {
    /// Its lane; `normal` by default.
    pub lane: Lane,
    /// When it expires unless it was sent: 1 s to 30 days, 24 hours by default.
    pub expires_in: Duration,
    /// It replaces the messages for the device with the same key that were not sent yet. At most
    /// [`KeepDown::MAX_COLLAPSE_KEY`] bytes.
    pub collapse_key: Option<String>,
}

/// A message for a device whose state is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettledMessage {
    /// Its id.
    pub id: Tag,
    /// Its state.
    pub state: DownState,
}

/// Why a message is not kept for a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendKeptError {
    /// The cloud was built without a store for such messages.
    #[error("this cloud has no store for kept messages to devices")]
    NotOffered,
    /// The value cannot be represented as a [`Term`](crate::Term).
    #[error("the value cannot be sent: {0}")]
    Value(#[from] TermError),
    /// The message is too big or nested too deeply.
    #[error("cannot encode the message: {0}")]
    Encode(#[from] EncodeError),
    /// [`KeepDown`] has a value that is not possible.
    #[error("invalid {option}: expected {expected}")]
    Option {
        /// The name of the field.
        option: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// The clock is certainly wrong, so that the message could expire at once or never.
    #[error("the clock is behind")]
    ClockBehind,
    /// Too many messages wait for the device.
    #[error("too many messages wait for the device")]
    QueueFull,
    /// Too many messages wait for all devices together.
    #[error("too many messages wait for all devices together")]
    StoreFull,
    /// The message could not be stored.
    #[error("cannot store the message: {0}")]
    Store(#[from] StoreError),
}

/// What the sessions share to send kept messages, in a cloud that has a store for them.
pub(crate) struct DeviceQueue {
    pub(crate) store: Arc<dyn DeviceQueueStore>,
    pub(crate) clock: Clock,
    limits: DownLimits,
    turns: [Arc<Semaphore>; 2],
    observer: OnceLock<Weak<dyn SettledObserver>>,
}

/// How many calls of the store run or wait in its queue at once for each lane. So a fleet that reconnects neither fills
/// that queue, nor is an urgent message behind it.
const TURNS: usize = 32;

/// Is notified of settled messages.
pub(crate) trait SettledObserver: Send + Sync {
    fn on_settled(&self, device: &DeviceId, settled: &[SettledMessage]);
}

impl KeepDown {
    /// The largest number of bytes in a collapse key.
    pub const MAX_COLLAPSE_KEY: usize = 128;

    /// The shortest time until a message expires.
    pub const MIN_EXPIRY: Duration = Duration::from_secs(1);

    /// The longest time until a message expires.
    pub const MAX_EXPIRY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// These with a change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn check(&self) -> Result<(), SendKeptError> {
        let key = self.collapse_key.as_ref().map_or(1, String::len);
        let expiry = (Self::MIN_EXPIRY..=Self::MAX_EXPIRY).contains(&self.expires_in);
        let rules = [
            ("expires_in", expiry, "1 s to 30 days"),
            ("collapse_key", (1..=Self::MAX_COLLAPSE_KEY).contains(&key), "1 to 128 bytes"),
        ];
        match rules.into_iter().find(|(_, is_met, _)| !is_met) {
            None => Ok(()),
            Some((option, _, expected)) => Err(SendKeptError::Option { option, expected }),
        }
    }
}

impl Default for KeepDown {
    fn default() -> Self {
        let expires_in = Duration::from_secs(24 * 60 * 60);
        Self { lane: Lane::Normal, expires_in, collapse_key: None }
    }
}

impl SettledMessage {
    /// The message with this id is in this state.
    pub fn new(id: Tag, state: DownState) -> Self {
        Self { id, state }
    }
}

impl DeviceQueue {
    pub(crate) fn new(store: Arc<dyn DeviceQueueStore>, clock: Clock) -> Arc<Self> {
        let turns = [(); 2].map(|()| Arc::new(Semaphore::new(TURNS)));
        let limits = DownLimits::default();
        Arc::new(Self { store, clock, limits, turns, observer: OnceLock::new() })
    }

    /// Has the handler of this cloud told about settled messages.
    pub(crate) fn observe(&self, observer: Weak<dyn SettledObserver>) {
        // A cloud is built once.
        let _ = self.observer.set(observer);
    }

    /// Waits, in order, until a session may call the store for this lane.
    pub(crate) async fn turn(&self, lane: Lane) -> Option<OwnedSemaphorePermit> {
        let [normal, urgent] = &self.turns;
        let turns = match lane {
            Lane::Normal => normal,
            Lane::Urgent => urgent,
        };
        // It is never closed.
        turns.clone().acquire_owned().await.ok()
    }

    /// Waits until no session is calling the store.
    async fn idle(&self) {
        for turns in &self.turns {
            // It is never closed.
            let _ = turns.acquire_many(TURNS as u32).await;
        }
    }

    /// Tells the handler. False if it panicked.
    #[must_use]
    pub(crate) fn settled(&self, device: &DeviceId, settled: &[SettledMessage]) -> bool {
        let observer = self.observer.get().and_then(Weak::upgrade);
        let Some(observer) = observer.filter(|_| !settled.is_empty()) else { return true };
        // What a panic leaves inconsistent is the handler's, as in a callback.
        catch_unwind(AssertUnwindSafe(|| observer.on_settled(device, settled))).is_ok()
    }
}

impl fmt::Debug for DeviceQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceQueue").finish_non_exhaustive()
    }
}
