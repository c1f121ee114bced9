//! A callback of the handler, boxed and timed, and what it wants next.

use fedecks_protocol::CloseReason;
use fedecks_store::BoxFuture;
use tokio::time::Instant;

use crate::context::GatewayContext;
use crate::handler::{Handler, InfoOutcome, Outcome};
use crate::messaging::message::Message;

/// A callback of the handler. In a box: an idle session keeps no room for it.
pub(super) type Callback<'a> = BoxFuture<'a, Then>;

/// What the handler wants after a callback.
pub(super) enum Then {
    Nothing,
    Send(Message),
    SendRaw(Vec<u8>),
    Stop(CloseReason),
}

/// A callback whose time is counted, if it comes to its end.
pub(super) fn timed<'a, H: Handler>(
    context: &'a GatewayContext<H>,
    callback: impl Future<Output = Then> + Send + 'a,
) -> Callback<'a> {
    Box::pin(async move {
        let began = Instant::now();
        let then = callback.await;
        context.hub.counters().handler.add(began.elapsed());
        then
    })
}

impl From<Outcome> for Then {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Nothing,
            Outcome::Reply(message) => Self::Send(message),
            Outcome::ReplyRaw(bytes) => Self::SendRaw(bytes),
            Outcome::Stop(reason) => Self::Stop(reason),
        }
    }
}

impl From<InfoOutcome> for Then {
    fn from(outcome: InfoOutcome) -> Self {
        match outcome {
            InfoOutcome::Ok => Self::Nothing,
            InfoOutcome::Push(message) => Self::Send(message),
            InfoOutcome::PushRaw(bytes) => Self::SendRaw(bytes),
            InfoOutcome::Stop(reason) => Self::Stop(reason),
        }
    }
}
