//! The state from the Welcome to the end of the link: frames in both directions, pings, tokens.

use std::time::Duration;

use fedecks_delivery::Violation;
use fedecks_protocol::{
    Capabilities, CloseCode, DeliveryFrame, DownFrame, EncodeError, EncodedTerm, Limits, Received,
    Term, UpFrame, Welcome,
};

use super::heartbeat::Heartbeat;
use super::next::Next;
use super::retry_policy::{self, Retry};
use super::shared::Shared;
use crate::action::{Action, Notice, Outgoing, UnexpectedFrame};
use crate::event::{Event, LostReason};
use crate::request::SendId;
use crate::time::Time;
use crate::timers::Timer;
use crate::watch::Network;

/// About how many bytes of kept messages are handed to the link at a time.
const CHUNK: usize = 16 * 1024;

/// What a reply has besides its content, in bytes, at most.
const REPLY_HEAD: usize = 10;

/// What this end understands besides messages.
const CAPABILITIES: Capabilities =
    Capabilities::KEEP_ALIVE.or(Capabilities::REQUESTS).or(Capabilities::KEPT_MESSAGES);

/// How long a login waits for its token before it requests one.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Session {
    since: Time,
    heartbeat: Heartbeat,
    /// The largest frame that both ends accept, in bytes.
    max_frame: usize,
    /// What the cloud takes besides messages.
    capabilities: Capabilities,
    /// A ping is unanswered that checks whether the link survived a change of the network.
    probing: bool,
}

impl Session {
    pub(super) fn begin(now: Time, welcome: &Welcome, cx: &mut Shared) -> Self {
        cx.clear_offline();
        cx.round_trip.on_connected();
        let cloud_limit = usize::try_from(welcome.max_frame).unwrap_or(usize::MAX);
        let capabilities =
            welcome.delivery.map_or(Capabilities::default(), |offer| offer.capabilities);
        let mut it = Self {
            since: now,
            heartbeat: Heartbeat::new(now, welcome),
            max_frame: cloud_limit.min(cx.config.limits.max_size),
            capabilities,
            probing: false,
        };
        if let Some(offer) = &welcome.delivery {
            it.transmit_frame(now, &UpFrame::Hello(CAPABILITIES), cx);
            cx.inbox.connect(offer);
            cx.outbox.connect(offer, it.max_frame, &mut cx.out);
        }
        it.arm_ping(cx);
        cx.out.timers.set(Timer::Stable, now + cx.config.stable_after);
        if cx.logins.header().is_some() {
            cx.out.timers.set(Timer::Token, now + TOKEN_TIMEOUT);
        } else {
            cx.tokens.set_late(false);
        }
        cx.out.push(Action::TrustTime { server_time_ms: welcome.server_time_ms });
        cx.out.emit(Event::Connected);
        it
    }

    pub(super) fn on_send(
        &mut self,
        now: Time,
        id: SendId,
        frame: &UpFrame,
        confirm: bool,
        cx: &mut Shared,
    ) {
        match self.encode(frame, cx) {
            Ok(bytes) if confirm && self.capabilities.contains(Capabilities::KEEP_ALIVE) => {
                let number = cx.confirmations.next();
                cx.confirmations.expect(number, id);
                self.transmit(now, bytes, Some(id), cx);
                self.keep_alive(now, number, cx);
            }
            Ok(bytes) => self.transmit(now, bytes, Some(id), cx),
            Err(error) => cx.out.answer_send(id, Err(error.into())),
        }
    }

    /// Sends what is kept, up to [`CHUNK`] bytes: so neither a ping nor a message of the application waits for the
    /// whole backlog.
    pub(super) fn on_writable(&mut self, now: Time, cx: &mut Shared) {
        let mut sent = 0;
        while sent < CHUNK {
            let Some(frame) = cx.outbox.poll() else { return };
            let bytes = match (self.encode(&UpFrame::Delivery(frame.clone()), cx), frame) {
                (Ok(bytes), _) => bytes,
                (Err(_), DeliveryFrame::Kept(kept)) => {
                    let skip = cx.outbox.too_big(&kept, &mut cx.out);
                    let Ok(bytes) = self.encode(&UpFrame::Delivery(skip), cx) else { return };
                    bytes
                }
                (Err(_), _) => return,
            };
            sent += bytes.len();
            self.transmit(now, bytes, None, cx);
        }
    }

    /// Whether the cloud has shown this capability.
    pub(super) fn takes(&self, capability: Capabilities) -> bool {
        self.capabilities.contains(capability)
    }

    pub(super) fn encode(&self, frame: &UpFrame, cx: &Shared) -> Result<Vec<u8>, EncodeError> {
        cx.config.dialect.encode_up(frame, &self.limits(cx))
    }

    /// Encodes the content of an answer, with room for its head.
    pub(super) fn keep_term(&self, term: &Term, cx: &Shared) -> Result<EncodedTerm, EncodeError> {
        let limits = self.limits(cx);
        let max_size = limits.max_size.saturating_sub(REPLY_HEAD);
        cx.config.dialect.keep_term(term, &Limits { max_size, ..limits })
    }

    fn limits(&self, cx: &Shared) -> Limits {
        Limits {
            max_size: self.max_frame,
            // What clouds decode. The device's own limit is of what it receives.
            max_decoded: Limits::CLOUD_DECODED,
            ..cx.config.limits
        }
    }

    pub(super) fn transmit_frame(&mut self, now: Time, frame: &UpFrame, cx: &mut Shared) {
        // They are a few bytes: if they exceed the limit, no token could ever be received either.
        if let Ok(bytes) = self.encode(frame, cx) {
            self.transmit(now, bytes, None, cx);
        }
    }

    /// Asks the cloud's session to show that it lives, and has read everything before.
    fn keep_alive(&mut self, now: Time, number: u64, cx: &mut Shared) {
        self.transmit_frame(now, &UpFrame::KeepAlive(number), cx);
        if cx.out.timers.get(Timer::Alive).is_none() {
            cx.out.timers.set(Timer::Alive, now + cx.round_trip.pong_deadline(&cx.config));
        }
    }

    fn on_alive(&self, now: Time, number: u64, cx: &mut Shared) {
        cx.out.timers.stop(Timer::Alive);
        if cx.confirmations.on_alive(number, &mut cx.out) {
            cx.out.timers.set(Timer::Alive, now + cx.round_trip.pong_deadline(&cx.config));
        }
    }

    /// Handles a frame about kept messages.
    fn on_delivery(&mut self, now: Time, frame: DeliveryFrame, cx: &mut Shared) -> Option<Next> {
        let result = match frame {
            DeliveryFrame::Ack(ack) => cx.outbox.on_ack(now, &ack, &mut cx.out),
            DeliveryFrame::Rewind { handle, to } => cx.outbox.on_rewind(handle, to),
            DeliveryFrame::Resume(_)
            | DeliveryFrame::Kept(_)
            | DeliveryFrame::Skip(_)
            | DeliveryFrame::Close { .. } => self.on_inbound(now, frame, cx),
        };
        result.err().map(|violation| self.on_violation(now, violation, cx))
    }

    pub(super) fn on_violation(&self, now: Time, violation: Violation, cx: &mut Shared) -> Next {
        cx.log(Notice::Violation(violation));
        cx.disconnect(CloseCode::ProtocolError);
        self.on_lost(now, LostReason::Broken(violation.to_string()), cx)
    }

    pub(super) fn on_message(&mut self, now: Time, bytes: &[u8], cx: &mut Shared) -> Option<Next> {
        self.on_traffic(now, cx);
        let Some(received) = cx.decode(bytes) else {
            let limits = cx.config.limits;
            if let Some(content) = cx.config.dialect.undecodable_request(bytes, &limits) {
                self.on_undecodable(now, content, cx);
            }
            return self.on_undecodable_kept(now, bytes, cx);
        };
        let frame = match received {
            Received::Message(term) => {
                cx.out.push(Action::Deliver(term));
                return None;
            }
            Received::Frame(frame) => frame,
        };
        match frame {
            DownFrame::Delivery(frame) => return self.on_delivery(now, frame, cx),
            DownFrame::Alive(number) => self.on_alive(now, number, cx),
            DownFrame::Unknown { kind } => cx.log(Notice::UnknownFrame { kind }),
            DownFrame::Welcome(_) => cx.log(Notice::UnexpectedFrame(UnexpectedFrame::Welcome)),
            // Messages arrive as `Received::Message`.
            DownFrame::Message { sequence: _, term } => cx.out.emit(Event::Message(term)),
            DownFrame::Raw { sequence: _, bytes } => cx.out.emit(Event::RawMessage(bytes)),
            DownFrame::Token(token) => {
                cx.out.timers.stop(Timer::Token);
                cx.logins.on_token();
                cx.tokens.replace(token, &mut cx.out);
            }
            DownFrame::Request(frame) => self.on_request_frame(now, frame, cx),
        }
        None
    }

    pub(super) fn on_text(&mut self, now: Time, size: usize, cx: &mut Shared) {
        self.on_traffic(now, cx);
        cx.log(Notice::TextMessage { size });
    }

    pub(super) fn on_pong(&mut self, now: Time, cx: &mut Shared) {
        if let Some(took) = self.heartbeat.on_pong(now) {
            cx.round_trip.on_pong(took);
        }
        cx.clear_offline();
        self.on_traffic(now, cx);
    }

    /// A part of a message: what the session has to confirm, or its confirmation, may be behind the rest of it.
    pub(super) fn on_progress(&mut self, now: Time, cx: &mut Shared) {
        if cx.out.timers.get(Timer::Alive).is_some() {
            cx.out.timers.set(Timer::Alive, now + cx.round_trip.pong_deadline(&cx.config));
        }
        self.on_traffic(now, cx);
    }

    pub(super) fn on_traffic(&mut self, now: Time, cx: &mut Shared) {
        self.heartbeat.on_received(now);
        self.probing = false;
        cx.out.timers.stop(Timer::Pong);
        if cx.out.timers.get(Timer::Ping).is_none() {
            self.arm_ping(cx);
        }
    }

    /// Checks with a ping whether the link survived a change of the network. One ping is enough: the
    /// link is ordered, so a second one could not be answered before the first.
    ///
    /// A network that is down does not affect the link: TCP survives the loss of a carrier, and does so
    /// best if nothing is sent, because retransmissions become less and less frequent and the neighbour
    /// is only queried once a second. If the network stays down, the next regular ping finds out.
    pub(super) fn on_network(&mut self, now: Time, network: Network, cx: &mut Shared) {
        match network {
            Network::Up | Network::Changed if !self.probing => {
                self.probing = true;
                self.ping(now, cx.round_trip.probe_deadline(&cx.config), cx);
            }
            Network::Up | Network::Changed | Network::Down => {}
        }
    }

    pub(super) fn on_timer(&mut self, now: Time, timer: Timer, cx: &mut Shared) -> Option<Next> {
        match timer {
            Timer::Ping => match self.heartbeat.ping_at() {
                Some(at) if at <= now => {
                    self.ping(now, cx.round_trip.pong_deadline(&cx.config), cx);
                    let knows = self.capabilities.contains(Capabilities::KEEP_ALIVE);
                    if knows && cx.confirmations.on_ping() {
                        let number = cx.confirmations.next();
                        self.keep_alive(now, number, cx);
                    }
                }
                Some(_) => self.arm_ping(cx),
                None => {}
            },
            Timer::Pong => {
                if self.probing {
                    cx.round_trip.on_probe_failed();
                }
                return Some(self.abort(now, LostReason::NoPong, cx));
            }
            Timer::Alive => return Some(self.abort(now, LostReason::NoPong, cx)),
            Timer::Request => self.on_requests_overdue(now, cx),
            Timer::Acknowledge => self.send_acks(now, cx),
            Timer::Stable => cx.backoff.reset(),
            Timer::Token => {
                cx.out.timers.set(Timer::Token, now + TOKEN_TIMEOUT);
                self.transmit_frame(now, &UpFrame::TokenPlease, cx);
            }
            Timer::Retry
            | Timer::Phase
            | Timer::Store
            | Timer::Load
            | Timer::Expiry
            | Timer::Queue => {}
        }
        None
    }

    /// Ends a connection that the cloud must have dropped while the device was suspended. To be called
    /// before anything is sent, because sending would hide the suspend.
    pub(super) fn check_suspend(&self, now: Time, cx: &mut Shared) -> Option<Next> {
        self.heartbeat.was_suspended(now).then(|| self.abort(now, LostReason::Suspended, cx))
    }

    pub(super) fn on_lost(&self, now: Time, reason: LostReason, cx: &mut Shared) -> Next {
        // The end itself comes from outside, unless there is only silence.
        let heard = if reason == LostReason::NoPong { self.heartbeat.last_received() } else { now };
        if !retry_policy::is_fault(&reason) {
            cx.backoff.after_connection(heard - self.since);
        }
        let retry = Retry::after_loss(&reason, self.probing);
        cx.session_ended();
        cx.link_ended(reason, |reason| Event::ConnectionLost { reason });
        Next::Waiting(retry)
    }

    /// Ends the link on this end's initiative.
    pub(super) fn close_locally(&self, code: CloseCode, cx: &mut Shared) {
        cx.session_ended();
        cx.disconnect(code);
        cx.out.emit(Event::ConnectionLost { reason: LostReason::Local });
    }

    /// Ends a dead link.
    fn abort(&self, now: Time, reason: LostReason, cx: &mut Shared) -> Next {
        cx.disconnect(CloseCode::GoingAway);
        self.on_lost(now, reason, cx)
    }

    fn ping(&mut self, now: Time, deadline: Duration, cx: &mut Shared) {
        cx.out.timers.set(Timer::Pong, self.heartbeat.on_ping(now, deadline));
        cx.out.push(Action::Transmit { attempt: cx.attempt, message: Outgoing::Ping, send: None });
    }

    /// Sets the timer to when a ping is due if there is no more traffic. Traffic does not move the
    /// timer; if it fires too early, it is set again.
    fn arm_ping(&self, cx: &mut Shared) {
        if let Some(at) = self.heartbeat.ping_at() {
            cx.out.timers.set(Timer::Ping, at);
        }
    }

    pub(super) fn transmit(
        &mut self,
        now: Time,
        bytes: Vec<u8>,
        send: Option<SendId>,
        cx: &mut Shared,
    ) {
        self.heartbeat.on_sent(now);
        let message = Outgoing::Frame(bytes);
        cx.out.push(Action::Transmit { attempt: cx.attempt, message, send });
    }
}
