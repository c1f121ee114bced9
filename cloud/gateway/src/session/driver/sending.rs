//! What the session sends by itself: the Welcome, tokens, and what the handler returns. Items of the queue are
//! sent by the event loop. Here is also how it flushes.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use fedecks_protocol::{Dialect, DownFrame, EncodeError, IssuedToken, Limits};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Driver, Pending};
use crate::auth::keyring::Claims;
use crate::handler::{Handler, Outcome};
use crate::messaging::hub::raw_frame;
use crate::session::end::EndReason;
use crate::session::error::SessionError;
use crate::session::moment::Moment;
use crate::session::token_schedule::time_to_seal;

impl<H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'_, H, S> {
    pub(super) fn send_welcome(&mut self) {
        let welcome = DownFrame::Welcome(self.context.welcome());
        self.send(self.dialect().encode_down(&welcome, &self.limits()));
    }

    /// Sends a token of the generation that the device was authenticated with: a device that is revoked
    /// while it is connected never gets a valid token. Sends none while the clock is certainly wrong.
    pub(super) fn send_token(&mut self) {
        let (options, by) = (&self.context.options, self.session.authenticated_by());
        let now = self.context.traffic.now();
        let Some(issued_at) = time_to_seal(by, &self.context.clock) else {
            tracing::debug!("the clock is behind, sealed no token");
            return self.tokens.postpone(now);
        };
        let issued: IssuedToken = self.context.keyring.seal(&Claims {
            device: self.session.device().clone(),
            issued_at,
            expires_at: issued_at.saturating_add(options.token_lifetime.as_secs()),
            generation: self.session.connection_handle().generation,
        });
        self.tokens.sent(options.token_refresh, now);
        self.send(self.dialect().encode_down(&DownFrame::Token(issued), &self.limits()));
        tracing::debug!("sent a token");
    }

    pub(super) fn count_sent(&self) {
        self.context.hub.counters().messages_sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a frame to the socket's buffer; returns whether it was added. A message that exceeds the
    /// limits is an error of the handler; the session continues without it.
    pub(super) fn send(&mut self, frame: Result<impl AsRef<[u8]>, EncodeError>) -> bool {
        match frame {
            Ok(frame) => {
                self.socket.send(frame.as_ref());
                self.traffic.set_unsent(&self.context.traffic, self.socket.unsent_memory());
                true
            }
            Err(error) => {
                let log = || tracing::error!(%error, "cannot encode a message of the handler");
                self.span().in_scope(log);
                false
            }
        }
    }

    pub(super) fn send_message(&mut self, frame: Result<impl AsRef<[u8]>, EncodeError>) {
        if self.send(frame) {
            self.count_sent();
        }
    }

    /// Acts on the outcome of a callback.
    pub(super) fn act_on(&mut self, outcome: Outcome) -> Result<(), EndReason> {
        match outcome {
            Outcome::Ok => {}
            Outcome::Send(message) => {
                self.send_message(message.frame(self.dialect(), &self.limits()));
            }
            Outcome::SendRaw(bytes) => {
                self.send_message(raw_frame(&bytes, self.dialect(), &self.limits()));
            }
            Outcome::Stop(reason) => return Err(EndReason::ByCloud(reason)),
        }
        Ok(())
    }

    /// Handles a failed write. What the device sent before is still handled, and reading will then find
    /// the end of the connection; if nothing is pending, the session ends now.
    pub(super) fn write_failed(&mut self, end: EndReason) {
        self.socket.discard_unsent();
        self.traffic.set_unsent(&self.context.traffic, 0);
        if !matches!(self.pending.as_deref(), Some(Pending::Frame(_))) {
            self.pending = Some(Box::new(Pending::End(end)));
        }
    }

    /// Flushes the socket; returns whether nothing is left to send.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, now: Moment) -> Result<bool, EndReason> {
        let flushed = self.socket.poll_flush(cx);
        self.traffic.set_unsent(&self.context.traffic, self.socket.unsent_memory());
        let (received, sent) = self.socket.take_counts();
        let counters = self.context.hub.counters();
        counters.bytes_received.fetch_add(received.into(), Ordering::Relaxed);
        counters.bytes_sent.fetch_add(sent.into(), Ordering::Relaxed);
        let flushed = match flushed {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => return Err(EndReason::Error(SessionError::Lost(error))),
            Poll::Pending => false,
        };
        let mailbox = &self.session.connection_handle().mailbox;
        let unsent = u32::try_from(self.socket.unsent()).unwrap_or(u32::MAX);
        let waiting = || unsent.saturating_add(mailbox.bytes());
        self.traffic.sent(sent, waiting, now);
        let (stalled, progress) = (!flushed, sent > 0);
        if stalled != self.stalled_since.is_some() || (stalled && progress) {
            self.stalled_since = stalled.then_some(now);
            mailbox.set_stalled(stalled.then(|| now.instant(self.context.traffic.started)));
        }
        Ok(flushed)
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.session.connection_handle().dialect
    }

    pub(super) fn limits(&self) -> Limits {
        self.context.options.limits_down()
    }
}
