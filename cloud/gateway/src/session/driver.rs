//! What a session does between its first frame and its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fedecks_protocol::{Dialect, DownFrame, EncodeError, IssuedToken, Limits, UpFrame, Welcome};
use fedecks_store::{since_1970, unix_now};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::Session;
use super::callback::{Callback, timed};
use super::end::End;
use super::error::SessionError;
use super::pace::Used;
use crate::auth::device::AuthenticatedBy;
use crate::auth::keyring::Claims;
use crate::connection::mailbox::{Delivery, Item};
use crate::context::GatewayContext;
use crate::handler::{Handler, Outcome};
use crate::messaging::hub::raw_frame;
use crate::messaging::message::Info;
use crate::websocket::socket::{Incoming, Socket};

/// What a session does between its first frame and its end.
pub(super) struct Driver<'a, H, S> {
    context: &'a GatewayContext<H>,
    session: &'a Session,
    socket: &'a mut Socket<S>,
    /// One timer, set to a deadline that is never later than the next one of those below. They move
    /// with every message and the timer only when it fires.
    timer: Pin<&'a mut Sleep>,
    /// When bytes came from the device last.
    heard_at: Instant,
    token_due: Instant,
    /// When the device last asked for a token and got one.
    asked_at: Option<Instant>,
    /// Since when the device has taken nothing of what is to be sent.
    stalled_since: Option<Instant>,
    /// Read, and not yet handled: reading stops here. That the connection is over is handled after
    /// everything that came before.
    held: Option<Held>,
    /// The queue goes before the device's next message, so that neither starves the other.
    queue_first: bool,
    /// How much of what it may send the device has used up.
    used: Used,
    /// In which second a device that is held back was last shown that its session lives.
    shown_in: u32,
    /// That the device is held back was logged.
    held_back: bool,
    /// A frame that cannot be read was logged: the next ones are logged at a lower level.
    complained: bool,
}

enum Held {
    Frame(Bytes),
    End(End),
}

/// What a session has to do next.
enum Work {
    Frame(Bytes),
    Info(Info),
    Token,
}

/// How long a callback may still run when the session has to end.
const GRACE: Duration = Duration::from_secs(5);

/// How often a device that is held back is sent a pong, in seconds. Its own pings wait behind what it may not
/// send yet, and it takes a session for dead when nothing comes for 10 s after one of them.
const SIGN_OF_LIFE_S: u32 = 3;

/// How often a device gets a token that it asks for.
const TOKEN_INTERVAL: Duration = Duration::from_secs(1);

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'a, H, S> {
    pub(super) fn new(
        context: &'a GatewayContext<H>,
        session: &'a Session,
        socket: &'a mut Socket<S>,
        timer: Pin<&'a mut Sleep>,
    ) -> Self {
        let now = Instant::now();
        Self {
            context,
            session,
            socket,
            timer,
            heard_at: now,
            token_due: now
                + first_token_in(session.authenticated_by(), context.options.token_refresh),
            asked_at: None,
            stalled_since: None,
            held: None,
            queue_first: false,
            used: Used::nothing(now),
            shown_in: context.pace.as_ref().map_or(0, |pace| pace.second(now)),
            held_back: false,
            complained: false,
        }
    }

    /// Goes on until the session ends, which is the error.
    pub(super) async fn work(&mut self) -> Result<Infallible, End> {
        self.welcome();
        if self.token_due <= Instant::now() {
            self.send_token();
        }
        let (context, session) = (self.context, self.session);
        let connected = async {
            context.handler.connected(session).await;
            Outcome::Ok
        };
        self.call(timed(context, connected)).await?;
        loop {
            let work = poll_fn(|cx| self.poll_work(cx)).await?;
            if let Some(callback) = self.take_up(work) {
                self.call(callback).await?;
            }
            // Whoever has always something to do lets others have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Does what is to be done, or has the handler do it.
    fn take_up(&mut self, work: Work) -> Option<Callback<'a>> {
        let (context, session) = (self.context, self.session);
        match work {
            Work::Frame(bytes) => {
                self.queue_first = true;
                self.take_up_frame(&bytes)
            }
            Work::Info(info) => {
                self.queue_first = false;
                Some(timed(context, context.handler.handle_info(session, info)))
            }
            Work::Token => {
                self.send_token();
                None
            }
        }
    }

    fn take_up_frame(&mut self, bytes: &[u8]) -> Option<Callback<'a>> {
        let (context, session) = (self.context, self.session);
        match self.dialect().decode_up(bytes, &self.limits()) {
            Ok(UpFrame::Message { sequence: _, term }) => {
                return Some(timed(context, context.handler.handle_in(session, term)));
            }
            Ok(UpFrame::Raw { sequence: _, bytes }) => {
                return Some(timed(context, context.handler.handle_raw_in(session, bytes)));
            }
            Ok(UpFrame::TokenPlease) => self.token_please(),
            Ok(UpFrame::Ack(_)) => {
                tracing::debug!("ignored an acknowledgement, none is asked for");
            }
            Ok(UpFrame::Reply { .. }) => tracing::debug!("ignored an answer, nothing was asked"),
            Ok(UpFrame::Unknown { kind }) => {
                tracing::debug!(kind, "ignored a frame of an unknown kind");
            }
            Err(error) => {
                context.hub.counters().undecodable.fetch_add(1, Ordering::Relaxed);
                if std::mem::replace(&mut self.complained, true) {
                    tracing::debug!(%error, "ignored another message that is no frame");
                } else {
                    tracing::warn!(%error, "ignored a message that is no frame");
                }
            }
        }
        None
    }

    /// Runs a callback of the handler to its end, keeps the connection alive meanwhile, and does
    /// what the handler wants.
    async fn call(&mut self, mut callback: Callback<'_>) -> Result<(), End> {
        let mut patience = None;
        let then = poll_fn(|cx| {
            // What the callback has broken by a panic ends with this session.
            let poll = AssertUnwindSafe(|| callback.as_mut().poll(cx));
            match std::panic::catch_unwind(poll) {
                Ok(Poll::Ready(then)) => Poll::Ready(Ok(then)),
                Ok(Poll::Pending) => self.poll_meanwhile(cx, &mut patience).map(Err),
                Err(_) => Poll::Ready(Err(End::Failed(SessionError::Panicked))),
            }
        })
        .await?;
        if patience.is_some() {
            // While the callback ran, nothing might have been read.
            self.heard_at = Instant::now();
        }
        match then {
            Outcome::Ok => {}
            Outcome::Send(message) => {
                self.send_message(message.frame(self.dialect(), self.limits().max_size));
            }
            Outcome::SendRaw(bytes) => {
                self.send_message(raw_frame(&bytes, self.dialect(), self.limits().max_size));
            }
            Outcome::Stop(reason) => return Err(End::ByCloud(reason)),
        }
        Ok(())
    }

    /// What goes on while a callback runs: pings are answered, and one message is read ahead. Ready
    /// when the callback is not waited for any longer.
    fn poll_meanwhile(
        &mut self,
        cx: &mut Context<'_>,
        patience: &mut Option<Instant>,
    ) -> Poll<End> {
        self.read(cx);
        if let Err(end) = self.flush(cx) {
            self.lost(end);
        }
        let now = Instant::now();
        let until = patience.get_or_insert(now + self.context.options.idle_timeout);
        let order = match self.session.connected().mailbox.poll(cx, false) {
            Poll::Ready(Delivery::Order(order)) => {
                *until = (*until).min(now + GRACE);
                Some(order)
            }
            Poll::Ready(Delivery::Item(_)) | Poll::Pending => None,
        };
        if *until <= now {
            let stuck = SessionError::Stuck(self.context.options.idle_timeout);
            return Poll::Ready(order.map_or(End::Failed(stuck), End::from));
        }
        let next = self.barred_until(now).map_or(*until, |barred| barred.min(*until));
        self.arm(cx, next);
        Poll::Pending
    }

    /// Waits for something to do, and sends what there is before it waits.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<Work, End>> {
        loop {
            self.read(cx);
            let ready = !self.socket.is_congested();
            let queue = ready && (self.held.is_none() || self.queue_first);
            match self.session.connected().mailbox.poll(cx, queue) {
                Poll::Ready(Delivery::Order(order)) => return Poll::Ready(Err(order.into())),
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
            match self.held.take() {
                Some(Held::End(end)) => return Poll::Ready(Err(end)),
                Some(Held::Frame(frame)) if ready => return Poll::Ready(Ok(Work::Frame(frame))),
                held => self.held = held,
            }
            match self.flush(cx) {
                // Now there is room for what had to wait.
                Ok(true) if !ready => continue,
                Ok(_) => {}
                Err(end) => {
                    self.lost(end);
                    continue;
                }
            }
            let now = Instant::now();
            let barred = if self.held.is_none() { self.barred_until(now) } else { None };
            if barred.is_some() && self.hold_back(now) {
                continue;
            }
            if self.token_due <= now {
                return Poll::Ready(Ok(Work::Token));
            }
            let silence = self.context.options.idle_timeout;
            let reading = self.held.is_none() && barred.is_none();
            if reading && self.heard_at + silence <= now {
                return Poll::Ready(Err(End::Failed(SessionError::Idle(silence))));
            }
            if self.stalled_since.is_some_and(|since| since + silence <= now) {
                return Poll::Ready(Err(End::Failed(SessionError::TooSlow)));
            }
            let mut next = self.token_due;
            if reading {
                next = next.min(self.heard_at + silence);
            }
            if let Some(barred) = barred {
                next = next.min(barred);
            }
            if let Some(since) = self.stalled_since {
                next = next.min(since + silence);
            }
            self.arm(cx, next);
            return Poll::Pending;
        }
    }

    /// Reads until there is something to handle, or until the device has used up what it may send.
    fn read(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        while self.held.is_none() && self.barred_until(now).is_none() {
            let read = self.socket.poll_read(cx);
            if let (Poll::Ready(_), Some(pace)) = (&read, &self.context.pace) {
                pace.charge(&mut self.used, now);
            }
            match read {
                Poll::Ready(Ok(Incoming::Frame(bytes))) => self.held = Some(Held::Frame(bytes)),
                Poll::Ready(Ok(Incoming::Text)) => tracing::debug!("ignored a text message"),
                Poll::Ready(Ok(Incoming::Heartbeat)) => {}
                Poll::Ready(Ok(Incoming::Close(reason))) => {
                    self.held = Some(Held::End(End::ByDevice(reason)));
                }
                Poll::Ready(Err(error)) => self.held = Some(Held::End(End::Failed(error))),
                Poll::Pending => break,
            }
        }
        if self.socket.take_received() {
            self.heard_at = now;
        }
    }

    /// Until when nothing is read, because the device sends more than it may.
    fn barred_until(&self, now: Instant) -> Option<Instant> {
        self.context.pace.as_ref().and_then(|pace| pace.barred_until(self.used, now))
    }

    /// Shows a device that may not send now that its session lives; whether there is something to
    /// flush because of that.
    fn hold_back(&mut self, now: Instant) -> bool {
        if !std::mem::replace(&mut self.held_back, true) {
            let limit = self.context.options.messages_per_second;
            tracing::warn!(
                limit,
                "the device sends more messages per second than it may, holding back"
            );
        }
        let second = self.context.pace.as_ref().map_or(0, |pace| pace.second(now));
        let due = second.saturating_sub(self.shown_in) >= SIGN_OF_LIFE_S;
        if due {
            self.shown_in = second;
            self.socket.pong();
        }
        due
    }

    /// Nothing can be sent any more. What the device sent before that is handled still, and reading
    /// will find the end; if there is nothing, this is it.
    fn lost(&mut self, end: End) {
        self.socket.discard_unsent();
        if !matches!(self.held, Some(Held::Frame(_))) {
            self.held = Some(Held::End(end));
        }
    }

    /// Sends what waits to be sent; whether nothing is left.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let flushed = self.socket.poll_flush(cx);
        let (came, went) = self.socket.take_counts();
        let counters = self.context.hub.counters();
        counters.bytes_received.fetch_add(came.into(), Ordering::Relaxed);
        counters.bytes_sent.fetch_add(went.into(), Ordering::Relaxed);
        let flushed = match flushed {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => return Err(End::Failed(SessionError::Lost(error))),
            Poll::Pending => false,
        };
        let (stalled, moves) = (!flushed, self.socket.take_sent());
        if stalled != self.stalled_since.is_some() || (stalled && moves) {
            self.stalled_since = stalled.then(Instant::now);
            self.session.connected().mailbox.set_stalled(self.stalled_since);
        }
        Ok(flushed)
    }

    /// Has the task woken at `next`, or before that for nothing.
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

    fn welcome(&mut self) {
        let options = &self.context.options;
        let welcome = DownFrame::Welcome(Welcome {
            server_time_ms: u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX),
            heartbeat: options.heartbeat,
            idle_timeout: options.idle_timeout,
            max_frame: options.max_frame,
        });
        let frame = self.dialect().encode_down(&welcome, &self.limits());
        self.send(frame);
    }

    fn token_please(&mut self) {
        let now = Instant::now();
        if self.asked_at.is_some_and(|at| now < at + TOKEN_INTERVAL) {
            tracing::debug!("the device asks for tokens too often");
            return;
        }
        self.asked_at = Some(now);
        self.send_token();
    }

    /// The token has the generation that the device was let in with: one that is revoked while it is
    /// connected never gets a good token.
    fn send_token(&mut self) {
        let options = &self.context.options;
        let issued_at = unix_now();
        let issued: IssuedToken = self.context.keyring.seal(&Claims {
            device: self.session.device().clone(),
            issued_at,
            expires_at: issued_at.saturating_add(options.token_lifetime.as_secs()),
            generation: self.session.connected().generation,
        });
        self.token_due = Instant::now() + options.token_refresh;
        let frame = self.dialect().encode_down(&DownFrame::Token(issued), &self.limits());
        self.send(frame);
        tracing::debug!("sent a token");
    }

    fn count_sent(&self) {
        self.context.hub.counters().messages_sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts a frame into the socket's buffer. One that does not fit the limits is the handler's
    /// mistake, and the session goes on without it. Whether it was put there.
    fn send(&mut self, frame: Result<impl AsRef<[u8]>, EncodeError>) -> bool {
        match frame {
            Ok(frame) => {
                self.socket.send(frame.as_ref());
                true
            }
            Err(error) => {
                tracing::error!(%error, "what the handler wants to send has no frame");
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
        self.session.connected().dialect
    }

    fn limits(&self) -> Limits {
        Limits { max_size: self.context.options.max_frame as usize, ..Limits::default() }
    }
}

/// After how long the device's next token is due.
fn first_token_in(by: AuthenticatedBy, refresh: Duration) -> Duration {
    match by {
        AuthenticatedBy::Credentials => Duration::ZERO,
        AuthenticatedBy::Token { issued_at } => {
            let age = Duration::from_secs(unix_now().saturating_sub(issued_at));
            refresh.saturating_sub(age)
        }
    }
}
