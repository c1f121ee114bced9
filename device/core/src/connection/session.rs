//! Between the Welcome and the end of the link: frames both ways, pings, tokens.

use std::time::Duration;

use fedecks_protocol::{CloseCode, DownFrame, Limits, UpFrame, Welcome};

use super::heartbeat::Heartbeat;
use super::next::Next;
use super::retry_policy::Retry;
use super::shared::Shared;
use crate::action::{Action, Notice, Outgoing, UnusedFrame};
use crate::event::{Event, LostReason};
use crate::request::SendId;
use crate::time::Time;
use crate::timers::Timer;
use crate::watch::Network;

/// How long a login waits for its token before it asks the cloud for one.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Session {
    heartbeat: Heartbeat,
    /// The biggest frame that both ends take, in bytes.
    max_frame: usize,
    /// A ping is out to see whether the link outlived a change of the network.
    probing: bool,
}

impl Session {
    pub(super) fn begin(now: Time, welcome: &Welcome, cx: &mut Shared) -> Self {
        cx.clear_offline();
        let cloud_limit = usize::try_from(welcome.max_frame).unwrap_or(usize::MAX);
        let it = Self {
            heartbeat: Heartbeat::new(now, welcome),
            max_frame: cloud_limit.min(cx.config.limits.max_size),
            probing: false,
        };
        it.arm_ping(cx);
        cx.out.timers.set(Timer::Stable, now + cx.config.stable_after);
        if cx.logins.header().is_some() {
            cx.out.timers.set(Timer::Token, now + TOKEN_PATIENCE);
        }
        cx.out.push(Action::TrustTime { server_time_ms: welcome.server_time_ms });
        cx.out.emit(Event::Connected);
        it
    }

    pub(super) fn on_send(&mut self, now: Time, id: SendId, frame: &UpFrame, cx: &mut Shared) {
        let limits = Limits { max_size: self.max_frame, ..cx.config.limits };
        match cx.config.dialect.encode_up(frame, &limits) {
            Ok(bytes) => self.transmit(now, bytes, Some(id), cx),
            Err(error) => cx.out.answer_send(id, Err(error.into())),
        }
    }

    pub(super) fn on_message(&mut self, now: Time, bytes: &[u8], cx: &mut Shared) {
        self.on_traffic(now, cx);
        let Some(frame) = cx.decode(bytes) else { return };
        match frame {
            DownFrame::Unknown { kind } => cx.log(Notice::UnknownFrame { kind }),
            DownFrame::Welcome(_) => cx.log(Notice::UnusedFrame(UnusedFrame::Welcome)),
            DownFrame::Message { sequence: _, term } => cx.out.emit(Event::Message(term)),
            DownFrame::Raw { sequence: _, bytes } => cx.out.emit(Event::RawMessage(bytes)),
            DownFrame::Token(token) => {
                cx.out.timers.stop(Timer::Token);
                cx.logins.on_token();
                cx.tokens.replace(token, &mut cx.out);
            }
            DownFrame::Ack(_) => cx.log(Notice::UnusedFrame(UnusedFrame::Ack)),
            DownFrame::Request { .. } => cx.log(Notice::UnusedFrame(UnusedFrame::Request)),
        }
    }

    /// A text message means nothing but that the cloud lives.
    pub(super) fn on_text(&mut self, now: Time, size: usize, cx: &mut Shared) {
        self.on_traffic(now, cx);
        cx.log(Notice::TextMessage { size });
    }

    pub(super) fn on_pong(&mut self, now: Time, cx: &mut Shared) {
        cx.round_trip = self.heartbeat.on_pong(now).or(cx.round_trip);
        cx.clear_offline();
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

    /// Sees whether the link outlived a change of the network. One such ping is enough: the link
    /// keeps the order, so that a second one would say nothing before the first.
    ///
    /// A network that is gone does nothing to the link: TCP outlives the loss of a carrier, and best
    /// if nothing is sent meanwhile, for what is sent is repeated ever more rarely and the neighbour
    /// asked for every second only. If the network stays away, the next ordinary ping finds out.
    pub(super) fn on_network(&mut self, now: Time, network: Network, cx: &mut Shared) {
        match network {
            Network::Up | Network::Changed if !self.probing => {
                self.probing = true;
                self.ping(now, cx.config.probe_deadline, cx);
            }
            Network::Up | Network::Changed | Network::Down => {}
        }
    }

    pub(super) fn on_timer(&mut self, now: Time, timer: Timer, cx: &mut Shared) -> Option<Next> {
        match timer {
            Timer::Ping => match self.heartbeat.ping_at() {
                Some(at) if at <= now => self.ping(now, cx.config.pong_deadline, cx),
                Some(_) => self.arm_ping(cx),
                None => {}
            },
            Timer::Pong => return Some(self.give_up(LostReason::NoPong, cx)),
            Timer::Stable => cx.backoff.reset(),
            Timer::Token => {
                cx.out.timers.set(Timer::Token, now + TOKEN_PATIENCE);
                let please = cx.config.dialect.encode_up(&UpFrame::TokenPlease, &cx.config.limits);
                // One byte; it fits any limit but an absurd one, and then there is no token to be had.
                if let Ok(bytes) = please {
                    self.transmit(now, bytes, None, cx);
                }
            }
            Timer::Retry | Timer::Phase | Timer::Store | Timer::Load => {}
        }
        None
    }

    /// Ends a connection that the cloud has surely dropped because the device slept. Comes before
    /// anything is sent, since that would hide the sleep.
    pub(super) fn notice_sleep(&self, now: Time, cx: &mut Shared) -> Option<Next> {
        self.heartbeat.slept_through(now).then(|| self.give_up(LostReason::Slept, cx))
    }

    pub(super) fn on_lost(&self, reason: LostReason, cx: &mut Shared) -> Next {
        let retry = Retry::after_loss(&reason, self.probing);
        cx.link_ended(reason, |reason| Event::ConnectionLost { reason });
        Next::Waiting(retry)
    }

    /// Ends the link because this end wants it.
    pub(super) fn close_locally(&self, code: CloseCode, cx: &mut Shared) {
        cx.disconnect(code);
        cx.out.emit(Event::ConnectionLost { reason: LostReason::Local });
    }

    /// Ends the link because it is dead.
    fn give_up(&self, reason: LostReason, cx: &mut Shared) -> Next {
        cx.disconnect(CloseCode::GoingAway);
        self.on_lost(reason, cx)
    }

    fn ping(&mut self, now: Time, deadline: Duration, cx: &mut Shared) {
        cx.out.timers.set(Timer::Pong, self.heartbeat.on_ping(now, deadline));
        cx.out.push(Action::Transmit { attempt: cx.attempt, message: Outgoing::Ping, send: None });
    }

    /// Sets the timer to when a ping would be due if nothing more came or went. Traffic does not
    /// move it: when it comes too early, it is set again.
    fn arm_ping(&self, cx: &mut Shared) {
        if let Some(at) = self.heartbeat.ping_at() {
            cx.out.timers.set(Timer::Ping, at);
        }
    }

    fn transmit(&mut self, now: Time, bytes: Vec<u8>, send: Option<SendId>, cx: &mut Shared) {
        self.heartbeat.on_sent(now);
        let message = Outgoing::Frame(bytes);
        cx.out.push(Action::Transmit { attempt: cx.attempt, message, send });
    }
}
