//! What happens between the Welcome and the end of the link: frames both ways, pings, tokens.

use std::time::Duration;

use fedecks_protocol::{CloseCode, DownFrame, EncodeError, Limits, UpFrame, Welcome};

use super::heartbeat::Heartbeat;
use super::{Connection, Link};
use crate::action::{Action, Notice, Outgoing};
use crate::attempt::Attempt;
use crate::event::{Event, FailReason, LostReason};
use crate::request::SendError;
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

impl Connection {
    /// Sends a frame if there is a connection. Nothing is kept: on an error the caller still has it.
    pub fn handle_send(&mut self, now: Time, frame: &UpFrame) -> Result<(), SendError> {
        self.notice_sleep(now);
        let Link::Connected(session) = &self.link else {
            return Err(SendError::NotConnected);
        };
        let limits = Limits { max_size: session.max_frame, ..self.config.limits };
        self.transmit(now, frame, &limits)?;
        Ok(())
    }

    /// A binary message came on the link of this attempt.
    pub fn handle_message(&mut self, now: Time, attempt: Attempt, bytes: &[u8]) {
        if attempt != self.attempt {
            return;
        }
        let connected = match self.link {
            Link::Unregistered | Link::Waiting { .. } | Link::Closed => return,
            Link::Dialing { .. } => false,
            Link::Connected(_) => true,
        };
        self.handle_traffic(now, attempt);
        let frame = match self.config.dialect.decode_down(bytes, &self.config.limits) {
            Ok(frame) => frame,
            Err(error) => {
                return self.log(Notice::BadFrame { size: bytes.len(), error });
            }
        };
        match frame {
            DownFrame::Unknown { kind } => self.log(Notice::UnknownFrame { kind }),
            DownFrame::Welcome(welcome) if !connected => self.welcomed(now, &welcome),
            _ if !connected => {
                self.disconnect(CloseCode::ProtocolError);
                self.fail(now, FailReason::NoWelcome, super::Next::Backoff);
            }
            DownFrame::Welcome(_) => self.log(Notice::UnusedFrame { name: "welcome" }),
            DownFrame::Message { sequence: _, term } => self.emit(Event::Message(term)),
            DownFrame::Raw { sequence: _, bytes } => self.emit(Event::RawMessage(bytes)),
            DownFrame::Token(token) => self.take_token(token),
            DownFrame::Ack(_) => self.log(Notice::UnusedFrame { name: "ack" }),
            DownFrame::Request { .. } => self.log(Notice::UnusedFrame { name: "request" }),
        }
    }

    /// A text message came on the link of this attempt; it means nothing but that the cloud lives.
    pub fn handle_text(&mut self, now: Time, attempt: Attempt, size: usize) {
        if attempt == self.attempt && matches!(self.link, Link::Connected(_)) {
            self.handle_traffic(now, attempt);
            self.log(Notice::TextMessage { size });
        }
    }

    /// Anything came on the link of this attempt: a pong, a ping, part of a message.
    pub fn handle_traffic(&mut self, now: Time, attempt: Attempt) {
        if attempt != self.attempt {
            return;
        }
        if let Link::Connected(session) = &mut self.link {
            session.heartbeat.on_received(now);
            session.probing = false;
            self.timers.stop(Timer::Pong);
            if self.timers.get(Timer::Ping).is_none() {
                self.arm_ping();
            }
        }
    }

    /// The answer to a ping came on the link of this attempt.
    pub fn handle_pong(&mut self, now: Time, attempt: Attempt) {
        if attempt != self.attempt {
            return;
        }
        if let Link::Connected(session) = &mut self.link {
            self.round_trip = session.heartbeat.on_pong(now).or(self.round_trip);
            self.disbelieve_down();
        }
        self.handle_traffic(now, attempt);
    }

    fn welcomed(&mut self, now: Time, welcome: &Welcome) {
        let by_login = matches!(self.link, Link::Dialing { by_login: true, .. });
        self.disbelieve_down();
        let cloud_limit = usize::try_from(welcome.max_frame).unwrap_or(usize::MAX);
        self.stop_link_timers();
        self.link = Link::Connected(Session {
            heartbeat: Heartbeat::new(now, welcome),
            max_frame: cloud_limit.min(self.config.limits.max_size),
            probing: false,
        });
        self.arm_ping();
        self.timers.set(Timer::Stable, now + self.config.stable_after);
        if by_login {
            self.timers.set(Timer::Token, now + TOKEN_PATIENCE);
        }
        self.actions.push_back(Action::TrustTime { server_time_ms: welcome.server_time_ms });
        self.emit(Event::Connected);
    }

    /// The cloud has answered: whoever said that there is no network does not know of this one.
    fn disbelieve_down(&mut self) {
        self.network = self.network.filter(|network| *network != Network::Down);
    }

    /// Sees whether the link outlived a change of the network. One such ping is enough: the link
    /// keeps the order, so that a second one would say nothing before the first.
    pub(super) fn probe(&mut self, now: Time) {
        if let Link::Connected(session) = &mut self.link {
            if !session.probing {
                session.probing = true;
                self.ping(now, self.config.probe_deadline);
            }
        }
    }

    /// Ends a connection that the cloud has surely dropped because the device slept. Comes before
    /// anything is sent, since that would hide the sleep.
    pub(super) fn notice_sleep(&mut self, now: Time) {
        if matches!(&self.link, Link::Connected(session) if session.heartbeat.slept_through(now)) {
            self.disconnect(CloseCode::GoingAway);
            self.lost(now, LostReason::Slept);
        }
    }

    pub(super) fn is_probing(&self) -> bool {
        matches!(&self.link, Link::Connected(session) if session.probing)
    }

    pub(super) fn ping_is_due(&mut self, now: Time) {
        let Link::Connected(session) = &self.link else {
            return;
        };
        match session.heartbeat.ping_at() {
            Some(at) if at <= now => self.ping(now, self.config.pong_deadline),
            Some(_) => self.arm_ping(),
            None => {}
        }
    }

    pub(super) fn pong_is_overdue(&mut self, now: Time) {
        if matches!(self.link, Link::Connected(_)) {
            self.disconnect(CloseCode::GoingAway);
            self.lost(now, LostReason::NoPong);
        }
    }

    pub(super) fn token_is_overdue(&mut self, now: Time) {
        if let Link::Connected(_) = self.link {
            self.timers.set(Timer::Token, now + TOKEN_PATIENCE);
            let limits = self.config.limits;
            // One byte; it fits any limit but an absurd one, and then there is no token to be had.
            let _ = self.transmit(now, &UpFrame::TokenPlease, &limits);
        }
    }

    fn ping(&mut self, now: Time, deadline: Duration) {
        if let Link::Connected(session) = &mut self.link {
            session.heartbeat.on_ping(now, deadline);
            if let Some(at) = session.heartbeat.overdue_at() {
                self.timers.set(Timer::Pong, at);
            }
            self.actions
                .push_back(Action::Transmit { attempt: self.attempt, message: Outgoing::Ping });
        }
    }

    /// Sets the timer to when a ping would be due if nothing more came or went. Traffic does not
    /// move it: when it comes too early, it is set again.
    fn arm_ping(&mut self) {
        if let Link::Connected(session) = &self.link {
            if let Some(at) = session.heartbeat.ping_at() {
                self.timers.set(Timer::Ping, at);
            }
        }
    }

    fn transmit(&mut self, now: Time, frame: &UpFrame, limits: &Limits) -> Result<(), EncodeError> {
        let bytes = self.config.dialect.encode_up(frame, limits)?;
        if let Link::Connected(session) = &mut self.link {
            session.heartbeat.on_sent(now);
        }
        self.actions
            .push_back(Action::Transmit { attempt: self.attempt, message: Outgoing::Frame(bytes) });
        Ok(())
    }

    fn log(&mut self, notice: Notice) {
        self.actions.push_back(Action::Log(notice));
    }
}
