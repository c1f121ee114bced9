//! Why a session ends, and how that is logged, counted and reported to the handler.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fedecks_protocol::{CloseCode, CloseReason};

use super::error::{Disconnected, SessionError};
use super::log_span::span_of;
use crate::connection::mailbox::CloseCommand;
use crate::context::GatewayContext;
use crate::handler::Handler;
use crate::messaging::presence::Presence;
use crate::messaging::stats::Counters;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum EndReason {
    /// The device sent a close frame.
    ByDevice(CloseReason),
    /// The cloud or its handler closes it.
    ByCloud(CloseReason),
    Error(SessionError),
}

impl EndReason {
    pub(super) fn disconnected(&self) -> Disconnected {
        match self {
            Self::ByDevice(reason) => Disconnected::ByDevice(*reason),
            Self::ByCloud(reason) => Disconnected::ByCloud(*reason),
            Self::Error(_) => Disconnected::ByError,
        }
    }

    /// The content of the close frame; `None` if none is sent.
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        match self {
            Self::ByDevice(_) => None,
            Self::ByCloud(reason) => Some(*reason),
            Self::Error(error) => error.close_code().map(CloseReason::new),
        }
    }

    /// Whether the bytes that the device sends can still be parsed. If not, its answer to a close frame
    /// cannot be awaited.
    pub(super) fn can_parse(&self) -> bool {
        let Self::Error(error) = self else { return true };
        !matches!(
            error,
            SessionError::Lost(_) | SessionError::Protocol(_) | SessionError::TooBig { .. }
        )
    }

    pub(super) fn count(&self, counters: &Counters) {
        let counter = match self {
            Self::Error(SessionError::TooSlow) => &counters.too_slow,
            Self::Error(SessionError::Overloaded | SessionError::NoMemory) => &counters.overloaded,
            Self::Error(SessionError::Panicked | SessionError::Stuck(_)) => {
                &counters.handler_failures
            }
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn log(&self) {
        match self {
            Self::ByDevice(close) => {
                tracing::info!(code = close.code.code(), "the device closed the connection");
            }
            Self::ByCloud(close) if close.code == CloseCode::Replaced => {
                tracing::info!("replaced by a newer connection of the device");
            }
            Self::ByCloud(close) => {
                tracing::info!(code = close.code.code(), "closed the connection");
            }
            Self::Error(SessionError::Lost(error)) => {
                tracing::info!(%error, "lost the connection");
            }
            Self::Error(error @ (SessionError::Panicked | SessionError::Stuck(_))) => {
                tracing::error!(%error, "closed the connection");
            }
            Self::Error(error) => tracing::warn!(%error, "closed the connection"),
        }
    }
}

impl From<CloseCommand> for EndReason {
    fn from(command: CloseCommand) -> Self {
        match command {
            CloseCommand::Close(reason) => Self::ByCloud(reason),
            CloseCommand::TooSlow => Self::Error(SessionError::TooSlow),
            CloseCommand::NoMemory => Self::Error(SessionError::NoMemory),
        }
    }
}

/// Calls [`Handler::on_disconnect`] exactly once, even if the session's task is dropped.
pub(super) struct DisconnectGuard<H: Handler> {
    context: Arc<GatewayContext<H>>,
    /// `None` once it is reported.
    presence: Option<Arc<Presence>>,
}

impl<H: Handler> DisconnectGuard<H> {
    pub(super) fn new(context: Arc<GatewayContext<H>>, presence: Arc<Presence>) -> Self {
        Self { context, presence: Some(presence) }
    }

    /// Reports the end of the session to the handler.
    pub(super) fn report(&mut self, end: &EndReason) {
        if let (EndReason::Error(error), Some(presence)) = (end, &self.presence) {
            catch_panic(|| self.context.handler.on_error(presence, error));
        }
        self.disconnected(&end.disconnected());
    }

    fn disconnected(&mut self, reason: &Disconnected) {
        if let Some(presence) = self.presence.take() {
            catch_panic(|| self.context.handler.on_disconnect(&presence, reason));
        }
    }
}

impl<H: Handler> Drop for DisconnectGuard<H> {
    fn drop(&mut self) {
        if let Some(presence) = self.presence.clone() {
            span_of(&presence).in_scope(|| self.disconnected(&Disconnected::Abandoned));
        }
    }
}

/// Logs a panic in one of these callbacks. The session has already ended.
fn catch_panic(callback: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(callback)).is_err() {
        tracing::error!("the handler panicked at the end of a session");
    }
}
