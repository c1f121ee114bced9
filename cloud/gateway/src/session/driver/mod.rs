//! The event loop of a session, from the first frame to the reason why it ends.

mod asked;
mod down;
mod keep_alive;
mod kept;
mod reading;
mod requests;
mod running;
mod sending;

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fedecks_protocol::UpFrame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::consume_budget;
use tokio::time::{Sleep, sleep_until};
use tracing::Span;

use crate::byte_pool::FREE;
use crate::connection::mailbox::{Delivery, Item};
use crate::context::GatewayContext;
use crate::handler::{Handler, Outcome};
use crate::messaging::message::Published;
use crate::session::Session;
use crate::session::callback::{Callback, Running, timed};
use crate::session::end::EndReason;
use crate::session::error::SessionError;
use crate::session::inbound::Inbound;
use crate::session::log_span::LogSpan;
use crate::session::moment::Moment;
use crate::session::outbound::Outbound;
use crate::session::token_schedule::TokenSchedule;
use crate::session::traffic::{RETRY, Traffic};
use crate::websocket::socket::Socket;

use self::asked::{Asked, Known};

/// Runs a session from its first frame until it has to end.
pub(in crate::session) struct Driver<'a, H, S> {
    context: &'a GatewayContext<H>,
    session: &'a Session,
    socket: &'a mut Socket<S>,
    /// At which second the session is woken, not later than at the earliest of the deadlines below. The deadlines
    /// change with every message, this only when it is over.
    alarm_s: u32,
    /// For a deadline within the current second.
    timer: Option<Pin<Box<Sleep>>>,
    /// Boxed, since most callbacks complete at once.
    running: Option<Box<Running<'a>>>,
    /// When the device last sent something.
    last_received: Moment,
    tokens: TokenSchedule,
    /// When the device stopped accepting the bytes that are ready for it.
    stalled_since: Option<Moment>,
    /// Read but not yet handled; reading pauses in the meantime. The end of the connection is handled
    /// after everything that was received before it. Boxed, since it is in use only for a moment.
    pending: Option<Box<Pending>>,
    /// The queue has priority over the device's next message, so that neither starves the other.
    queue_first: bool,
    pub(in crate::session) traffic: Traffic,
    /// When the device was last sent a pong because it was not read, in seconds since the start of the cloud: a quarter
    /// of the size of an `Instant`.
    last_pong_s: u32,
    /// A frame was not admitted for lack of memory.
    needs_room: bool,
    /// The kept messages of the device, once it has announced some. Boxed, since an idle device has none.
    inbound: Option<Box<Inbound>>,
    /// The kept messages for the device, while there are some.
    outbound: Option<Box<Outbound>>,
    /// The requests in progress. Boxed, since there are none most of the time.
    requests: Option<Box<Asked>>,
    /// The number of the last request to the device.
    last_asked: u32,
    /// What the device understands, if it has said so.
    device_takes: Option<Known>,
    log_span: LogSpan,
    /// The device has sent something twice within a second.
    is_busy: bool,
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
    Published(Published),
    Token,
    /// Store what was handled of the kept messages.
    Store,
}

/// A device that sends something twice in this time probably continues.
const BUSY: Duration = Duration::from_secs(1);

/// How long a running callback may continue when the session has to end.
const GRACE: Duration = Duration::from_secs(5);

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Driver<'a, H, S> {
    pub(in crate::session) fn new(
        context: &'a GatewayContext<H>,
        session: &'a Session,
        socket: &'a mut Socket<S>,
    ) -> Self {
        let now = context.traffic.now();
        let (by, refresh) = (session.authenticated_by(), context.options.token_refresh);
        Self {
            context,
            session,
            socket,
            alarm_s: 0,
            timer: None,
            running: None,
            last_received: now,
            tokens: TokenSchedule::new(by, refresh, &context.clock, now),
            stalled_since: None,
            pending: None,
            queue_first: false,
            traffic: Traffic::new(now),
            last_pong_s: now.seconds(),
            needs_room: false,
            inbound: None,
            outbound: None,
            requests: None,
            last_asked: 0,
            device_takes: None,
            log_span: LogSpan::default(),
            is_busy: false,
            throttling_logged: false,
            undecodable_logged: false,
        }
    }

    /// Says that the device is connected, sends the first frames, and begins the handler's first callback.
    pub(in crate::session) fn start(&mut self, connected: impl FnOnce()) {
        let span = self.span();
        let _in_span = span.enter();
        connected();
        self.send_welcome();
        if self.tokens.due() <= self.last_received {
            self.send_token();
        }
        let (context, session) = (self.context, self.session);
        self.keep_running(timed(context, move || async move {
            context.handler.on_connect(session).await;
            Outcome::Ok
        }));
    }

    /// Runs until the session has to end; returns why. Not an `async fn`, whose variables would take memory in every
    /// session.
    pub(in crate::session) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        loop {
            if let Err(end) = ready!(self.poll_step(cx)) {
                return Poll::Ready(end);
            }
            self.traffic.handled(&self.context.traffic);
            self.count_batch();
            // A session that always has something to do must let other tasks run.
            ready!(pin!(consume_budget()).poll(cx));
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndReason>> {
        if self.running.is_some() {
            return self.poll_running(cx);
        }
        let work = ready!(self.poll_work(cx))?;
        let span = self.span();
        let _in_span = span.enter();
        match self.handle(work)? {
            Some(callback) => self.poll_new(cx, callback),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Does the work, or returns the handler's callback for it.
    fn handle(&mut self, work: Work) -> Result<Option<Callback<'a>>, EndReason> {
        let (context, session) = (self.context, self.session);
        match work {
            Work::Frame(bytes) => {
                self.queue_first = true;
                self.traffic.handling(&self.context.traffic);
                return self.handle_frame(&bytes);
            }
            Work::Published(info) => {
                self.queue_first = false;
                return Ok(Some(timed(context, move || {
                    context.handler.on_published(session, info)
                })));
            }
            Work::Token => self.send_token(),
            Work::Store => return Ok(self.store_batch()),
        }
        Ok(None)
    }

    fn handle_frame(&mut self, bytes: &[u8]) -> Result<Option<Callback<'a>>, EndReason> {
        let (context, session) = (self.context, self.session);
        let limits = context.options.limits_up();
        match self.dialect().decode_up(bytes, &limits) {
            Ok(UpFrame::Message { sequence: _, term }) => {
                if bytes.len() > FREE {
                    self.traffic.decoded(&context.traffic, term.weight());
                }
                return Ok(Some(timed(context, move || context.handler.on_message(session, term))));
            }
            Ok(UpFrame::Raw { sequence: _, bytes }) => {
                return Ok(Some(timed(context, move || context.handler.on_raw(session, bytes))));
            }
            Ok(UpFrame::TokenPlease) => {
                if self.tokens.request(self.context.traffic.now()) {
                    self.send_token();
                } else {
                    tracing::debug!("the device requests tokens too often");
                }
            }
            Ok(UpFrame::Hello(capabilities)) => self.on_hello(capabilities),
            Ok(UpFrame::KeepAlive(number)) => self.send_alive(number),
            Ok(UpFrame::Delivery(frame)) => {
                return match self.on_receipt(frame)? {
                    Some(frame) => self.on_delivery(frame, bytes.len()),
                    None => Ok(None),
                };
            }
            Ok(UpFrame::Request(frame)) => return Ok(self.on_request(frame)),
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
                // If it is a kept message, the device would repeat it forever.
                if let Some(kept) = self.dialect().kept_without_content(bytes, &limits) {
                    return self.on_undecodable(kept);
                }
                if let Some(content) = self.dialect().undecodable_request(bytes, &limits) {
                    return Ok(self.on_undecodable_request(content));
                }
            }
        }
        Ok(None)
    }

    /// Waits for work, and flushes the socket before it waits.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<Work, EndReason>> {
        loop {
            let now = self.context.traffic.now();
            self.read(cx, now);
            let ready = !self.socket.is_congested();
            let queue = ready && (self.pending.is_none() || self.queue_first);
            let mut needs_room = false;
            match self.poll_mailbox(cx, queue) {
                Poll::Ready(Delivery::Close(command)) => return Poll::Ready(Err(command.into())),
                Poll::Ready(Delivery::Item(Item::Frame(frame))) => {
                    self.queue_first = false;
                    self.socket.send(&frame);
                    self.traffic.set_unsent(&self.context.traffic, self.socket.unsent_memory());
                    self.count_sent();
                    continue;
                }
                Poll::Ready(Delivery::Item(Item::Published(info))) => {
                    self.traffic.forwarding(info.message.weight());
                    return Poll::Ready(Ok(Work::Published(info)));
                }
                Poll::Ready(Delivery::Item(Item::Ask(ask))) => {
                    self.queue_first = false;
                    self.ask(*ask);
                    continue;
                }
                Poll::Ready(Delivery::Kept) => {
                    self.look_for_kept(true);
                    continue;
                }
                Poll::Ready(Delivery::NoRoom) => needs_room = true,
                Poll::Pending => {}
            }
            self.poll_requests(cx);
            if self.must_store() {
                return Poll::Ready(Ok(Work::Store));
            }
            self.send_acks();
            let ready = self.poll_down(cx) && ready;
            let next =
                self.pending.take_if(|pending| ready || matches!(**pending, Pending::End(_)));
            match next.map(|pending| *pending) {
                Some(Pending::End(end)) => return Poll::Ready(Err(end)),
                Some(Pending::Frame(frame)) => return Poll::Ready(Ok(Work::Frame(frame))),
                None => {}
            }
            match self.flush(cx, now) {
                // Now there is room for what had to wait.
                Ok(true) if !ready => continue,
                Ok(_) => {}
                Err(end) => {
                    self.write_failed(end);
                    continue;
                }
            }
            let throttled = if self.pending.is_none() { self.blocked_until(now) } else { None };
            if throttled.is_some() && self.throttle(now) {
                continue;
            }
            let token_due = self.tokens.due();
            if token_due <= now {
                return Poll::Ready(Ok(Work::Token));
            }
            let timeout = self.context.options.idle_timeout;
            let waiting = self.pending.is_none();
            let idle_ends = (waiting && throttled.is_none()).then(|| self.last_received + timeout);
            if idle_ends.is_some_and(|end| end <= now) {
                return Poll::Ready(Err(EndReason::Error(SessionError::Idle(timeout))));
            }
            let traffic = &self.context.traffic;
            let stall_ends = self.stalled_since.map(|since| {
                let ends = self.traffic.stall_ends(traffic, since, timeout, now);
                (ends.unwrap_or(since + timeout), since + timeout)
            });
            if stall_ends.is_some_and(|(end, last)| end.min(last) <= now) {
                return Poll::Ready(Err(EndReason::Error(SessionError::TooSlow)));
            }
            let arrival_ends = if waiting { self.traffic.arrival_ends(traffic, now) } else { None };
            if arrival_ends.is_some_and(|end| end <= now) {
                return Poll::Ready(Err(EndReason::Error(SessionError::Overloaded)));
            }
            let mut next = token_due;
            let asks_again = needs_room.then(|| now + RETRY);
            let stall_ends = stall_ends.map(|(end, _)| end);
            let due = [self.ack_due(), self.requests_due(), self.down_due(), self.rest(now)];
            let deadlines = [idle_ends, throttled, stall_ends, arrival_ends, asks_again];
            for deadline in deadlines.into_iter().chain(due).flatten() {
                next = next.min(deadline);
            }
            self.arm(cx, next, now);
            return Poll::Pending;
        }
    }

    /// The span of what is logged and of the callbacks.
    fn span(&mut self) -> Span {
        self.log_span.get(&self.session.connection.presence)
    }

    /// Frees what a session at rest does not need. While the device sends again and again it stays instead, and this
    /// returns when to look again.
    fn rest(&mut self, now: Moment) -> Option<Moment> {
        if !self.socket.is_at_work() && !self.log_span.is_kept() {
            return None;
        }
        if self.is_busy && now < self.last_received + BUSY {
            return Some(self.last_received + 2 * BUSY);
        }
        self.socket.rest();
        self.log_span.rest();
        None
    }

    fn poll_mailbox(&self, cx: &mut Context<'_>, items: bool) -> Poll<Delivery> {
        let mailbox = &self.session.connection_handle().mailbox;
        mailbox.poll(cx, items, &self.context.traffic.outgoing)
    }

    /// Makes the task wake up at `next`; it may also wake up earlier without a reason. The mailbox has to know the
    /// task: the alarm wakes it like a message.
    fn arm(&mut self, cx: &mut Context<'_>, next: Moment, now: Moment) {
        let (context, connection) = (self.context, &self.session.connection);
        let alarm = Moment::at_second(self.alarm_s);
        if now < alarm && alarm <= next {
            self.timer = None;
            return;
        }
        let next_s = next.seconds();
        if now.seconds() < next_s {
            self.timer = None;
            context.alarms.set(connection, self.alarm_s, next_s);
            self.alarm_s = next_s;
            return;
        }
        let next = next.instant(context.traffic.started);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        if timer.as_mut().poll(cx).is_ready() {
            self.timer = None;
            cx.waker().wake_by_ref();
        }
    }
}

impl<H, S> Drop for Driver<'_, H, S> {
    fn drop(&mut self) {
        self.context.alarms.remove(&self.session.connection, self.alarm_s);
        self.release_batch();
        self.store_last_receipts();
        self.traffic.end(&self.context.traffic);
    }
}
