//! What the session sends by itself: the Welcome, tokens, and what the handler returns. Items of the queue are
//! sent by the event loop.

use std::sync::atomic::Ordering;

use fedecks_protocol::{Dialect, DownFrame, EncodeError, IssuedToken, Limits};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Driver;
use crate::auth::keyring::Claims;
use crate::handler::Handler;
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
        let start = self.context.traffic.started;
        let Some(issued_at) = time_to_seal(by, &self.context.clock) else {
            tracing::debug!("the clock is behind, sealed no token");
            return self.tokens.postpone(start);
        };
        let issued: IssuedToken = self.context.keyring.seal(&Claims {
            device: self.session.device().clone(),
            issued_at,
            expires_at: issued_at.saturating_add(options.token_lifetime.as_secs()),
            generation: self.session.connection_handle().generation,
        });
        self.tokens.sent(options.token_refresh, start);
        self.send(self.dialect().encode_down(&DownFrame::Token(issued), &self.limits()));
        tracing::debug!("sent a token");
    }

    pub(super) fn count_sent(&self) {
        self.context.hub.counters().messages_sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a frame to the socket's buffer; returns whether it was added. A message that exceeds the
    /// limits is an error of the handler; the session continues without it.
    fn send(&mut self, frame: Result<impl AsRef<[u8]>, EncodeError>) -> bool {
        match frame {
            Ok(frame) => {
                self.socket.send(frame.as_ref());
                self.traffic.set_unsent(&self.context.traffic, self.socket.unsent());
                true
            }
            Err(error) => {
                tracing::error!(%error, "cannot encode a message of the handler");
                false
            }
        }
    }

    pub(super) fn send_message(&mut self, frame: Result<impl AsRef<[u8]>, EncodeError>) {
        if self.send(frame) {
            self.count_sent();
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.session.connection_handle().dialect
    }

    pub(super) fn limits(&self) -> Limits {
        self.context.options.limits_down()
    }
}
