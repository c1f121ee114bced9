//! A callback of the handler, boxed and timed.

use fedecks_store::BoxFuture;
use tokio::time::Instant;

use crate::context::GatewayContext;
use crate::handler::{Handler, Outcome};

/// A running callback of the handler. Boxed, so that an idle session reserves no memory for it.
pub(super) type Callback<'a> = BoxFuture<'a, Outcome>;

/// Boxes a callback and records how long it takes to complete. The handler is called by the future, where
/// a panic is caught.
pub(super) fn timed<'a, H: Handler, F: Future<Output = Outcome> + Send>(
    context: &'a GatewayContext<H>,
    callback: impl FnOnce() -> F + Send + 'a,
) -> Callback<'a> {
    Box::pin(async move {
        let started = Instant::now();
        let outcome = callback().await;
        context.hub.counters().handler.add(started.elapsed());
        outcome
    })
}
