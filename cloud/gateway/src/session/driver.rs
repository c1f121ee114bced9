//! The event loop of a session, from the first frame to the reason why it ends.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fedecks_protocol::{Dialect, DownFrame, EncodeError, IssuedToken, Limits, UpFrame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::Session;
use super::callback::{Callback, timed};
use super::end::EndReason;
use super::error::SessionError;
use super::token_schedule::{TokenSchedule, time_to_seal};
use crate::auth::keyring::Claims;
use crate::connection::mailbox::{Delivery, Item};
use crate::context::GatewayContext;
use crate::handler::{Handler, Outcome};
use crate::messaging::hub::raw_frame;
use crate::messaging::message::Info;
use crate::websocket::socket::{Incoming, Socket};

/// Runs a session from its first frame until it has to end.
pub(super) struct Driver<'a, H, S> {
    context: &'a GatewayContext<H>,
    session: &'a Session,
    socket: &'a mut Socket<S>,
    /// The only timer, never set to later than the earliest of the deadlines below. The deadlines change
    /// with every message, the timer only when it fires.
    timer: Pin<&'a mut Sleep>,
    /// When the device last sent something.
    last_received: Instant,
    tokens: TokenSchedule,
    /// When the device stopped accepting the bytes that are ready for it.
    stalled_since: Option<Instant>,
    /// Read but not yet handled; reading pauses in the meantime. The end of the connection is handled
    /// after everything that was received before it.
    pending: Option<Pending>,
    /// The queue has priority over the device's next message, so that neither starves the other.
    queue_first: bool,
    /// The device's state for [`GatewayContext::rate_limit`].
    rate_full_at: std::time::Instant,
    /// When a throttled device was last sent a pong, in seconds since the start of the cloud: a quarter
    /// of the size of an `Instant`.
    last_pong_s: u32,
    /// Logged that the device is throttled.
    throttling_logged: bool,
    /// Logged an undecodable frame; further ones are logged at a lower level.
    undecodable_logged: bool,
}

enum Pending {
    Frame(Bytes),
    End(EndReason),
}

/// What a session has to do next.
enum Work {
    Frame(Bytes),
    Info(Info),
    Token,
}

/// How long a running callback may continue when the session has to end.
const GRACE: Duration = Duration::from_secs(5);

/// How often a throttled device is sent a pong, in seconds. Its own pings are queued behind the messages
/// that it may not send yet, and it considers a connection lost if nothing arrives for 10 s after a ping.
const KEEPALIVE_S: u32 = 3;

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'a, H, S> {
    pub(super) fn new(
        context: &'a GatewayContext<H>,
        session: &'a Session,
        socket: &'a mut Socket<S>,
        timer: Pin<&'a mut Sleep>,
    ) -> Self {
        let now = Instant::now();
        let (by, refresh) = (session.authenticated_by(), context.options.token_refresh);
        Self {
            context,
            session,
            socket,
            timer,
            last_received: now,
            tokens: TokenSchedule::new(by, refresh, &context.clock, now),
            stalled_since: None,
            pending: None,
            queue_first: false,
            rate_full_at: now.into_std(),
            last_pong_s: context.seconds_at(now),
            throttling_logged: false,
            undecodable_logged: false,
        }
    }

    /// Runs until the session has to end; the reason is the error.
    pub(super) async fn run(&mut self) -> Result<Infallible, EndReason> {
        self.send_welcome();
        if self.tokens.due() <= Instant::now() {
            self.send_token();
        }
        let (context, session) = (self.context, self.session);
        self.call(timed(context, move || async move {
            context.handler.connected(session).await;
            Outcome::Ok
        }))
        .await?;
        loop {
            let work = poll_fn(|cx| self.poll_work(cx)).await?;
            if let Some(callback) = self.handle(work) {
                self.call(callback).await?;
            }
            // A session that always has something to do must let other tasks run.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Does the work, or returns the handler's callback for it.
    fn handle(&mut self, work: Work) -> Option<Callback<'a>> {
        let (context, session) = (self.context, self.session);
        match work {
            Work::Frame(bytes) => {
                self.queue_first = true;
                self.handle_frame(&bytes)
            }
            Work::Info(info) => {
                self.queue_first = false;
                Some(timed(context, move || context.handler.handle_info(session, info)))
            }
            Work::Token => {
                self.send_token();
                None
            }
        }
    }

    fn handle_frame(&mut self, bytes: &[u8]) -> Option<Callback<'a>> {
        let (context, session) = (self.context, self.session);
        match self.dialect().decode_up(bytes, &context.options.limits_up()) {
            Ok(UpFrame::Message { sequence: _, term }) => {
                return Some(timed(context, move || context.handler.handle_in(session, term)));
            }
            Ok(UpFrame::Raw { sequence: _, bytes }) => {
                return Some(timed(context, move || context.handler.handle_raw_in(session, bytes)));
            }
            Ok(UpFrame::TokenPlease) => {
                if self.tokens.request() {
                    self.send_token();
                } else {
                    tracing::debug!("the device requests tokens too often");
                }
            }
            Ok(UpFrame::Ack(_)) => tracing::debug!("ignored an unexpected acknowledgement"),
            Ok(UpFrame::Reply { .. }) => tracing::debug!("ignored an unexpected reply"),
            Ok(UpFrame::Unknown { kind }) => {
                tracing::debug!(kind, "ignored a frame of an unknown kind");
            }
            Err(error) => {
                context.hub.counters().undecodable.fetch_add(1, Ordering::Relaxed);
                if std::mem::replace(&mut self.undecodable_logged, true) {
                    tracing::debug!(%error, "ignored another undecodable frame");
                } else {
                    tracing::warn!(%error, "ignored an undecodable frame");
                }
            }
        }
        None
    }

    /// Runs a callback of the handler until it completes, serves the connection in the meantime, and acts
    /// on the outcome.
    async fn call(&mut self, mut callback: Callback<'_>) -> Result<(), EndReason> {
        let mut deadline = None;
        let outcome = poll_fn(|cx| {
            // State that the callback leaves inconsistent by a panic is dropped with this session.
            let poll = AssertUnwindSafe(|| callback.as_mut().poll(cx));
            match std::panic::catch_unwind(poll) {
                Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
                Ok(Poll::Pending) => self.poll_during_callback(cx, &mut deadline).map(Err),
                Err(_) => Poll::Ready(Err(EndReason::Error(SessionError::Panicked))),
            }
        })
        .await?;
        if deadline.is_some() {
            // Reading may have been paused while the callback ran.
            self.last_received = Instant::now();
        }
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

    /// Serves the connection while a callback runs: answers pings and reads one message ahead. Ready if
    /// the callback has to be dropped.
    fn poll_during_callback(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Option<Instant>,
    ) -> Poll<EndReason> {
        self.read(cx);
        if let Err(end) = self.flush(cx) {
            self.write_failed(end);
        }
        let now = Instant::now();
        let until = deadline.get_or_insert(now + self.context.options.idle_timeout);
        let command = match self.session.connection_handle().mailbox.poll(cx, false) {
            Poll::Ready(Delivery::Close(command)) => {
                *until = (*until).min(now + GRACE);
                Some(command)
            }
            Poll::Ready(Delivery::Item(_)) | Poll::Pending => None,
        };
        if *until <= now {
            let stuck = SessionError::Stuck(self.context.options.idle_timeout);
            return Poll::Ready(command.map_or(EndReason::Error(stuck), EndReason::from));
        }
        let next = self.throttled_until(now).map_or(*until, |throttled| throttled.min(*until));
        self.arm(cx, next);
        Poll::Pending
    }

    /// Waits for work, and flushes the socket before it waits.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<Work, EndReason>> {
        loop {
            self.read(cx);
            let ready = !self.socket.is_congested();
            let queue = ready && (self.pending.is_none() || self.queue_first);
            match self.session.connection_handle().mailbox.poll(cx, queue) {
                Poll::Ready(Delivery::Close(command)) => return Poll::Ready(Err(command.into())),
                Poll::Ready(Delivery::Item(Item::Frame(frame))) => {
                    self.queue_first = false;
                    self.socket.send(&frame);
                    self.count_sent();
                    continue;
                }
                Poll::Ready(Delivery::Item(Item::Info(info))) => {
                    return Poll::Ready(Ok(Work::Info(info)));
                }
                Poll::Pending => {}
            }
            match self.pending.take() {
                Some(Pending::End(end)) => return Poll::Ready(Err(end)),
                Some(Pending::Frame(frame)) if ready => return Poll::Ready(Ok(Work::Frame(frame))),
                pending => self.pending = pending,
            }
            match self.flush(cx) {
                // Now there is room for what had to wait.
                Ok(true) if !ready => continue,
                Ok(_) => {}
                Err(end) => {
                    self.write_failed(end);
                    continue;
                }
            }
            let now = Instant::now();
            let throttled = if self.pending.is_none() { self.throttled_until(now) } else { None };
            if throttled.is_some() && self.throttle(now) {
                continue;
            }
            if self.tokens.due() <= now {
                return Poll::Ready(Ok(Work::Token));
            }
            let timeout = self.context.options.idle_timeout;
            let reading = self.pending.is_none() && throttled.is_none();
            if reading && self.last_received + timeout <= now {
                return Poll::Ready(Err(EndReason::Error(SessionError::Idle(timeout))));
            }
            if self.stalled_since.is_some_and(|since| since + timeout <= now) {
                return Poll::Ready(Err(EndReason::Error(SessionError::TooSlow)));
            }
            let mut next = self.tokens.due();
            if reading {
                next = next.min(self.last_received + timeout);
            }
            if let Some(throttled) = throttled {
                next = next.min(throttled);
            }
            if let Some(since) = self.stalled_since {
                next = next.min(since + timeout);
            }
            self.arm(cx, next);
            return Poll::Pending;
        }
    }

    /// Reads until there is something to handle, or until the device has reached its rate limit.
    fn read(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        while self.pending.is_none() && self.throttled_until(now).is_none() {
            let read = self.socket.poll_read(cx);
            if let (Poll::Ready(_), Some(limit)) = (&read, &self.context.rate_limit) {
                limit.take(&mut self.rate_full_at, now.into_std());
            }
            self.pending = Some(match read {
                Poll::Ready(Ok(Incoming::Frame(bytes))) => Pending::Frame(bytes),
                Poll::Ready(Ok(Incoming::Close(end))) => Pending::End(EndReason::ByDevice(end)),
                Poll::Ready(Ok(Incoming::Heartbeat)) => continue,
                Poll::Ready(Ok(Incoming::Text)) => {
                    tracing::debug!("ignored a text message");
                    continue;
                }
                Poll::Ready(Err(error)) => Pending::End(EndReason::Error(error)),
                Poll::Pending => break,
            });
        }
        if self.socket.take_received() {
            self.last_received = now;
        }
    }

    /// When reading resumes; `None` unless it is paused because the device reached its rate limit.
    fn throttled_until(&self, now: Instant) -> Option<Instant> {
        let limit = self.context.rate_limit.as_ref()?;
        limit.blocked_until(self.rate_full_at, now.into_std()).map(Instant::from_std)
    }

    /// Sends a pong to a throttled device if one is due, so that it does not consider the connection lost.
    /// Returns whether there is one to flush.
    fn throttle(&mut self, now: Instant) -> bool {
        if !std::mem::replace(&mut self.throttling_logged, true) {
            let limit = self.context.options.messages_per_second;
            tracing::warn!(limit, "the device exceeds its message rate limit, throttling it");
        }
        let second = self.context.seconds_at(now);
        let due = second.saturating_sub(self.last_pong_s) >= KEEPALIVE_S;
        if due {
            self.last_pong_s = second;
            self.socket.pong();
        }
        due
    }

    /// Handles a failed write. What the device sent before is still handled, and reading will then find
    /// the end of the connection; if nothing is pending, the session ends now.
    fn write_failed(&mut self, end: EndReason) {
        self.socket.discard_unsent();
        if !matches!(self.pending, Some(Pending::Frame(_))) {
            self.pending = Some(Pending::End(end));
        }
    }

    /// Flushes the socket; returns whether nothing is left to send.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        let flushed = self.socket.poll_flush(cx);
        let (received, sent) = self.socket.take_counts();
        let counters = self.context.hub.counters();
        counters.bytes_received.fetch_add(received.into(), Ordering::Relaxed);
        counters.bytes_sent.fetch_add(sent.into(), Ordering::Relaxed);
        let flushed = match flushed {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => return Err(EndReason::Error(SessionError::Lost(error))),
            Poll::Pending => false,
        };
        let (stalled, progress) = (!flushed, self.socket.take_sent());
        if stalled != self.stalled_since.is_some() || (stalled && progress) {
            self.stalled_since = stalled.then(Instant::now);
            self.session.connection_handle().mailbox.set_stalled(self.stalled_since);
        }
        Ok(flushed)
    }

    /// Makes the task wake up at `next`; it may also wake up earlier without a reason.
    fn arm(&mut self, cx: &mut Context<'_>, next: Instant) {
        if next < self.timer.deadline() {
            self.timer.as_mut().reset(next);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            self.timer.as_mut().reset(next);
            if next <= Instant::now() {
                cx.waker().wake_by_ref();
                break;
            }
        }
    }

    fn send_welcome(&mut self) {
        let welcome = DownFrame::Welcome(self.context.welcome());
        self.send(self.dialect().encode_down(&welcome, &self.limits()));
    }

    /// Sends a token of the generation that the device was authenticated with: a device that is revoked
    /// while it is connected never gets a valid token. Sends none while the clock is certainly wrong.
    fn send_token(&mut self) {
        let (options, by) = (&self.context.options, self.session.authenticated_by());
        let Some(issued_at) = time_to_seal(by, &self.context.clock) else {
            tracing::debug!("the clock is behind, sealed no token");
            return self.tokens.postpone();
        };
        let issued: IssuedToken = self.context.keyring.seal(&Claims {
            device: self.session.device().clone(),
            issued_at,
            expires_at: issued_at.saturating_add(options.token_lifetime.as_secs()),
            generation: self.session.connection_handle().generation,
        });
        self.tokens.sent(options.token_refresh);
        self.send(self.dialect().encode_down(&DownFrame::Token(issued), &self.limits()));
        tracing::debug!("sent a token");
    }

    fn count_sent(&self) {
        self.context.hub.counters().messages_sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a frame to the socket's buffer; returns whether it was added. A message that exceeds the
    /// limits is an error of the handler; the session continues without it.
    fn send(&mut self, frame: Result<impl AsRef<[u8]>, EncodeError>) -> bool {
        match frame {
            Ok(frame) => {
                self.socket.send(frame.as_ref());
                true
            }
            Err(error) => {
                tracing::error!(%error, "cannot encode a message of the handler");
                false
            }
        }
    }

    fn send_message(&mut self, frame: Result<impl AsRef<[u8]>, EncodeError>) {
        if self.send(frame) {
            self.count_sent();
        }
    }

    fn dialect(&self) -> Dialect {
        self.session.connection_handle().dialect
    }

    fn limits(&self) -> Limits {
        self.context.options.limits_down()
    }
}
