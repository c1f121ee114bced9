//! A callback of the handler, boxed and timed.

use fedecks_protocol::Resume;
use fedecks_store::{BoxFuture, OpenStreams, StoreError};
use tokio::time::Instant;

use super::inbound::Batch;
use super::moment::Moment;
use crate::context::GatewayContext;
use crate::handler::KeptOutcome;
use crate::handler::{Handler, Outcome};
use crate::messaging::request::RequestOutcome;

/// A running callback of the handler, or a call of the store. Boxed, so that an idle session reserves no memory for
/// it.
pub(super) type Callback<'a> = BoxFuture<'a, Completed>;

/// A callback that did not complete at once.
pub(super) struct Running<'a> {
    pub(super) callback: Callback<'a>,
    /// When it is given up.
    pub(super) until: Moment,
}

/// The result of a [`Callback`].
pub(super) enum Completed {
    /// Of most callbacks.
    Outcome(Outcome),
    /// Of a kept message.
    Kept(KeptOutcome),
    /// The positions of the device, which has announced this stream.
    Opened(Resume, Result<OpenStreams, StoreError>),
    /// How many steps of a batch were taken.
    Stored(Batch, Result<usize, StoreError>),
    /// A stream is forgotten.
    Forgotten,
    /// Of a request of the device.
    Request(u64, RequestOutcome),
}

/// Boxes a callback and records how long it takes to complete. The handler is called by the future, where
/// a panic is caught.
pub(super) fn timed<'a, H: Handler, F: Future<Output: Into<Completed>> + Send>(
    context: &'a GatewayContext<H>,
    callback: impl FnOnce() -> F + Send + 'a,
) -> Callback<'a> {
    Box::pin(async move {
        let started = Instant::now();
        let outcome = callback().await;
        context.hub.counters().handler.add(started.elapsed());
        outcome.into()
    })
}

impl From<Outcome> for Completed {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl From<KeptOutcome> for Completed {
    fn from(outcome: KeptOutcome) -> Self {
        Self::Kept(outcome)
    }
}
