//! Why a session ends, and who is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fedecks_protocol::{CloseCode, CloseReason};

use super::error::{Disconnected, SessionError};
use crate::connection::mailbox::Order;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::messaging::hub::Counters;
use crate::messaging::presence::Presence;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The device sent a close frame.
    ByDevice(CloseReason),
    /// The cloud or its handler wants it to.
    ByCloud(CloseReason),
    Failed(SessionError),
}

impl End {
    pub(super) fn disconnected(&self) -> Disconnected {
        match self {
            Self::ByDevice(reason) => Disconnected::ByDevice(*reason),
            Self::ByCloud(reason) => Disconnected::ByCloud(*reason),
            Self::Failed(_) => Disconnected::ByError,
        }
    }

    /// What the close frame says; `None` if there is none to send.
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        match self {
            Self::ByDevice(_) => None,
            Self::ByCloud(reason) => Some(*reason),
            Self::Failed(error) => error.close_code().map(CloseReason::new),
        }
    }

    /// Whether the device can still be understood. If not, its answer to a close frame cannot be
    /// waited for.
    pub(super) fn is_intelligible(&self) -> bool {
        match self {
            Self::ByDevice(_) | Self::ByCloud(_) => true,
            Self::Failed(error) => match error {
                SessionError::Lost(_) | SessionError::Protocol(_) | SessionError::TooBig { .. } => {
                    false
                }
                SessionError::Idle(_)
                | SessionError::TooSlow
                | SessionError::Panicked
                | SessionError::Stuck(_) => true,
            },
        }
    }

    pub(super) fn count(&self, counters: &Counters) {
        let Self::Failed(error) = self else {
            return;
        };
        let counter = match error {
            SessionError::TooSlow => &counters.too_slow,
            SessionError::Panicked | SessionError::Stuck(_) => &counters.handler_failures,
            SessionError::Idle(_)
            | SessionError::Lost(_)
            | SessionError::Protocol(_)
            | SessionError::TooBig { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn log(&self) {
        match self {
            Self::ByDevice(close) => {
                tracing::info!(code = close.code.code(), "the device closed the connection");
            }
            Self::ByCloud(close) if close.code == CloseCode::Replaced => {
                tracing::info!("a newer connection of the device took over");
            }
            Self::ByCloud(close) => {
                tracing::info!(code = close.code.code(), "closed the connection");
            }
            Self::Failed(SessionError::Lost(error)) => {
                tracing::info!(%error, "the connection is lost");
            }
            Self::Failed(error @ (SessionError::Panicked | SessionError::Stuck(_))) => {
                tracing::error!(%error, "ended the connection");
            }
            Self::Failed(error) => tracing::warn!(%error, "ended the connection"),
        }
    }
}

impl From<Order> for End {
    fn from(order: Order) -> Self {
        match order {
            Order::Close(reason) => Self::ByCloud(reason),
            Order::TooSlow => Self::Failed(SessionError::TooSlow),
        }
    }
}

/// Tells the handler that the session is over, once, even if the task is dropped.
pub(super) struct Farewell<H: Handler> {
    context: Arc<GatewayContext<H>>,
    presence: Arc<Presence>,
    said: bool,
}

impl<H: Handler> Farewell<H> {
    pub(super) fn new(context: Arc<GatewayContext<H>>, presence: Arc<Presence>) -> Self {
        Self { context, presence, said: false }
    }

    pub(super) fn say(&mut self, end: &End) {
        if let End::Failed(error) = end {
            let (context, presence) = (&self.context, &self.presence);
            caught(|| context.handler.socket_error(presence, error));
        }
        self.disconnected(&end.disconnected());
    }

    fn disconnected(&mut self, why: &Disconnected) {
        self.said = true;
        caught(|| self.context.handler.disconnected(&self.presence, why));
    }
}

impl<H: Handler> Drop for Farewell<H> {
    fn drop(&mut self) {
        if !self.said {
            self.disconnected(&Disconnected::Abandoned);
        }
    }
}

/// A panic in one of these callbacks has nothing left to end.
fn caught(callback: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(callback)).is_err() {
        tracing::error!("the handler panicked at the end of a session");
    }
}
