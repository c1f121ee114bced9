//! How a session reads from its socket: one message ahead, within the rate limit and the memory for all.

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{BUSY, Driver, Pending};
use crate::handler::Handler;
use crate::session::end::EndReason;
use crate::session::moment::Moment;
use crate::session::traffic::RETRY;
use crate::websocket::socket::Incoming;

impl<H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'_, H, S> {
    /// Reads until there is something to handle, or until the device has reached its rate limit.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, now: Moment) {
        self.needs_room = false;
        // What was read ahead counts when it is due: until then the device was not read.
        let mut received = false;
        while self.pending.is_none() && self.blocked_until(now).is_none() {
            let Self { context, socket, traffic, needs_room, .. } = self;
            let read = socket.poll_read(cx, &mut |head| {
                *needs_room = !traffic.admit(&context.traffic, head, now);
                received |= !*needs_room;
                !*needs_room
            });
            self.pending = Some(Box::new(match read {
                Poll::Ready(Ok(Incoming::Frame(bytes))) => Pending::Frame(bytes),
                Poll::Ready(Ok(Incoming::Close(end))) => Pending::End(EndReason::ByDevice(end)),
                Poll::Ready(Ok(Incoming::Heartbeat | Incoming::Fragment)) => continue,
                Poll::Ready(Ok(Incoming::Text)) => {
                    self.traffic.ignored(&self.context.traffic);
                    self.span().in_scope(|| tracing::debug!("ignored a text message"));
                    continue;
                }
                Poll::Ready(Err(error)) => Pending::End(EndReason::Error(error)),
                Poll::Pending => break,
            }));
        }
        if received || self.socket.has_received() {
            self.is_busy = now < self.last_received + BUSY;
            self.last_received = now;
            self.session.connection_handle().heard.at(now.seconds());
        }
    }

    /// When reading resumes; `None` unless it has to pause, for the device's rate or for lack of memory.
    pub(super) fn blocked_until(&self, now: Moment) -> Option<Moment> {
        let room = self.needs_room.then(|| now + RETRY);
        self.traffic.blocked_until(&self.context.traffic, now).max(room)
    }
}
