//! How a session shows that it is alive: answers to the device's keep-alives, and signs of life while it does not read.

use fedecks_protocol::DownFrame;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Driver;
use super::asked::Known;
use crate::handler::Handler;
use crate::options::Options;
use crate::session::moment::Moment;

/// How often a device that is not read is sent a pong, in seconds. Its own pings are queued behind the messages
/// that it may not send yet, and it considers a connection lost if nothing arrives for 10 s after a ping.
const KEEPALIVE_S: u32 = 3;

impl<H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'_, H, S> {
    /// Answers a keep-alive, or sends an unasked one, which is 0.
    pub(super) fn send_alive(&mut self, number: u64) {
        self.send(self.dialect().encode_down(&DownFrame::Alive(number), &self.limits()));
    }

    /// Logs that the device is not read, and sends it a sign of life if one is due. Returns whether there is one to
    /// flush.
    pub(super) fn throttle(&mut self, now: Moment) -> bool {
        let span = self.span();
        let _in_span = span.enter();
        if self.needs_room {
            tracing::debug!("waiting for memory to receive a message of the device");
        } else if !std::mem::replace(&mut self.throttling_logged, true) {
            let Options { messages_per_second, bytes_per_second, .. } = self.context.options;
            tracing::warn!(
                messages_per_second,
                bytes_per_second,
                "the device exceeds its message rate limit, throttling it"
            );
        }
        self.send_sign_of_life(now)
    }

    /// Sends a pong to a device that is not read if one is due, so that it does not consider the connection lost.
    pub(super) fn send_sign_of_life(&mut self, now: Moment) -> bool {
        let second = now.seconds();
        let due = second.saturating_sub(self.last_pong_s) >= KEEPALIVE_S;
        if due {
            self.last_pong_s = second;
            self.socket.pong();
            if self.device_takes.is_some_and(Known::keep_alive) {
                self.send_alive(0);
            }
        }
        due
    }

    /// When the next sign of life is due.
    pub(super) fn sign_of_life_due(&self) -> Moment {
        Moment::at_second(self.last_pong_s.saturating_add(KEEPALIVE_S))
    }
}
