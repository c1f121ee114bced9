//! The connection: passes each input to the current state, which returns the next one. Decides only
//! what applies in every state.

mod asking;
mod confirmations;
mod deliveries;
mod dialing;
mod disk;
mod heartbeat;
mod inbox;
mod login;
mod next;
mod outbox;
mod output;
mod registration;
mod requests;
mod retry_policy;
mod round_trip;
mod session;
mod shared;
mod token_store;
mod unregistered;
mod waiting;

use std::time::Duration;

use fedecks_protocol::{CloseCode, IssuedToken, UpFrame};

use self::dialing::Dialing;
use self::next::Next;
use self::session::Session;
use self::shared::Shared;
pub use self::token_store::Stored;
use self::unregistered::Unregistered;
use self::waiting::Waiting;
use crate::action::Action;
use crate::attempt::{Attempt, DialError, Phase};
use crate::config::Config;
use crate::event::LostReason;
use crate::kept::{KeepError, KeepId, NewKept, QueueStatus};
use crate::queue_job::{DiskQueueStatus, QueueDone};
use crate::request::{GiveUp, NotRegistered, SendError, SendId};
use crate::state::State;
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::watch::Network;

/// The device's connection. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    shared: Shared,
}

#[derive(Debug)]
enum Link {
    Unregistered(Unregistered),
    Waiting(Waiting),
    Dialing(Dialing),
    Connected(Session),
    /// Shut down: ignores every input except the result of a command to the store.
    Closed,
}

impl Connection {
    /// A connection that starts by loading the token. `seed` is for its random delays and should differ
    /// between devices and between starts.
    pub fn new(config: Config, seed: u64) -> Self {
        Self { link: Link::Unregistered(Unregistered), shared: Shared::new(config, seed) }
    }

    /// The next action to execute. The driver polls after every input until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.shared.out.actions.pop_front()
    }

    /// When `handle_timeout` must be called at the latest. May change with every input.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.shared.out.timers.next()
    }

    /// The current state.
    pub fn state(&self) -> State {
        let until = self.shared.out.timers.get(Timer::Retry).unwrap_or_default();
        match self.link {
            Link::Unregistered(_) if !self.shared.tokens.has_looked() => State::Loading,
            Link::Unregistered(_) => State::Unregistered,
            Link::Waiting(_) if self.token_is_late() => State::Late { until },
            Link::Waiting(_) if self.network() == Some(Network::Down) => State::Offline { until },
            Link::Waiting(_) => State::Waiting { until },
            Link::Dialing(_) => State::Dialing { attempt: self.shared.attempt },
            Link::Connected(_) => State::Connected,
            Link::Closed => State::Closed,
        }
    }

    /// The token for the next attempt, unless there is a login before that.
    pub fn token(&self) -> Option<&IssuedToken> {
        self.shared.tokens.get()
    }

    /// Whether the cloud has refused that token as expired, and not accepted it since.
    pub fn token_is_late(&self) -> bool {
        self.shared.tokens.is_late()
    }

    /// The number of attempts and connections that have failed since the last stable one.
    pub fn failures(&self) -> u32 {
        self.shared.backoff.failures()
    }

    /// The number of attempts so far.
    pub fn attempts(&self) -> u64 {
        self.shared.attempt.0
    }

    /// The round-trip time of the last answered ping, on this connection or an earlier one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.round_trip.last()
    }

    /// The last report of the network watch; `None` if there is none, and if a `Down` has since been
    /// refuted by a response from the cloud.
    pub fn network(&self) -> Option<Network> {
        self.shared.network
    }

    /// Whether the store is up to date.
    pub fn stored(&self) -> Stored {
        self.shared.tokens.stored()
    }

    /// Ends the current connection, attempt or wait, even a wait that the cloud asked for, and dials
    /// immediately, because a user wants it. Does nothing without a token or a login to dial with.
    pub fn handle_reconnect(&mut self, now: Time) -> Result<(), NotRegistered> {
        if !self.shared.can_dial() || matches!(self.link, Link::Closed) {
            return Err(NotRegistered);
        }
        self.dial_now(now);
        Ok(())
    }

    /// Sends a frame if there is a connection. [`Action::AnswerSend`] follows immediately if the frame
    /// cannot be sent, otherwise after `handle_transmitted`. Frames are not queued for later.
    ///
    /// With `confirm` the answer follows only when the cloud's session has confirmed that it has read the frame, or
    /// when the connection has ended. A cloud that confirms nothing counts as one that has.
    pub fn handle_send(&mut self, now: Time, id: SendId, frame: &UpFrame, confirm: bool) {
        self.check_suspend(now);
        match &mut self.link {
            Link::Connected(it) => it.on_send(now, id, frame, confirm, &mut self.shared),
            Link::Unregistered(_) | Link::Waiting(_) | Link::Dialing(_) | Link::Closed => {
                self.shared.out.answer_send(id, Err(SendError::NotConnected));
            }
        }
    }

    /// Handles whether the link accepted the message of an [`Action::Transmit`]. If not, it is dead;
    /// `handle_lost` follows once everything received before that has been read, which may say why.
    pub fn handle_transmitted(&mut self, id: SendId, accepted: bool) {
        let cx = &mut self.shared;
        if !accepted {
            cx.confirmations.forget(id);
            cx.out.answer_send(id, Err(SendError::NotConnected));
        } else if !cx.confirmations.is_expected(id) {
            cx.out.answer_send(id, Ok(()));
        }
    }

    /// Accepts a message that is kept until the cloud has acknowledged it, also without a connection.
    /// [`Action::AnswerKeep`] follows immediately, and later [`Action::Settle`].
    pub fn handle_keep(&mut self, now: Time, id: KeepId, kept: NewKept) {
        let cx = &mut self.shared;
        if matches!(self.link, Link::Closed) {
            return cx.out.push(Action::AnswerKeep { id, result: Err(KeepError::ShutDown) });
        }
        cx.outbox.keep(now, id, kept, &cx.config, &mut cx.out);
    }

    /// Handles that the link has sent everything and takes more: what is kept follows, as far as the cloud has
    /// allowed it.
    pub fn handle_writable(&mut self, now: Time) {
        self.check_suspend(now);
        if let Link::Connected(it) = &mut self.link {
            it.on_writable(now, &mut self.shared);
        }
    }

    /// Handles the result of [`Action::Queue`].
    pub fn handle_queue(&mut self, now: Time, done: QueueDone) {
        let cx = &mut self.shared;
        cx.outbox.on_queue_done(now, done, &cx.config, &mut cx.out);
    }

    /// What is kept for the cloud.
    pub fn queue(&self) -> QueueStatus {
        self.shared.outbox.status()
    }

    /// The part of it on disk; `None` without a queue on disk.
    pub fn disk_queue(&self) -> Option<DiskQueueStatus> {
        self.shared.outbox.disk_status()
    }

    /// Handles the result of [`Action::LoadToken`]. An error is passed to the application. Loading is
    /// retried until there is a token, or until a login or a logout makes that unnecessary.
    pub fn handle_loaded(&mut self, now: Time, loaded: Result<Option<IssuedToken>, String>) {
        let cx = &mut self.shared;
        let loaded = cx.tokens.on_loaded(now, loaded, &mut cx.out);
        if let Link::Unregistered(it) = &self.link {
            let next = it.on_loaded(loaded, cx);
            self.enter(now, next);
        }
    }

    /// Handles the result of [`Action::StoreToken`] or [`Action::ForgetToken`]. A failed command is
    /// retried until it succeeds, with delays that double from a second to a minute.
    pub fn handle_stored(&mut self, now: Time, result: Result<(), String>) {
        let cx = &mut self.shared;
        if cx.tokens.on_stored(now, &result, &mut cx.out) {
            cx.logins.on_stored(&result, &mut cx.out);
        }
    }

    /// Handles a report of the network watch. A network that is back or different ends the backoff, and
    /// makes a connection send a ping with a short deadline, which follows the measured round-trip time. A network that is down extends the backoff
    /// to its maximum and does not affect a connection.
    pub fn handle_network(&mut self, now: Time, network: Network) {
        self.check_suspend(now);
        let cx = &mut self.shared;
        let was_down = cx.network.replace(network) == Some(Network::Down);
        let next = match &mut self.link {
            Link::Unregistered(_) | Link::Closed => None,
            Link::Waiting(it) => return it.on_network(now, network, was_down, cx),
            Link::Dialing(it) => it.on_network(now, network, was_down, cx),
            Link::Connected(it) => return it.on_network(now, network, cx),
        };
        self.enter(now, next);
    }

    /// Handles that an attempt has entered a phase.
    pub fn handle_phase(&mut self, now: Time, attempt: Attempt, entered: Phase) {
        if let (Link::Dialing(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_phase(now, entered, &mut self.shared);
        }
    }

    /// Handles the outcome of an attempt: a WebSocket, on which the Welcome frame is expected, or an error.
    pub fn handle_dialed(&mut self, now: Time, attempt: Attempt, result: Result<(), DialError>) {
        if let (Link::Dialing(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            let next = it.on_dialed(now, result, &mut self.shared);
            self.enter(now, next);
        }
    }

    /// Handles a binary message.
    pub fn handle_message(&mut self, now: Time, attempt: Attempt, bytes: &[u8]) {
        if attempt != self.shared.attempt {
            return;
        }
        let next = match &mut self.link {
            Link::Unregistered(_) | Link::Waiting(_) | Link::Closed => None,
            Link::Dialing(it) => it.on_message(bytes, &mut self.shared),
            Link::Connected(it) => it.on_message(now, bytes, &mut self.shared),
        };
        self.enter(now, next);
    }

    /// Handles a text message, which only proves that the cloud is alive.
    pub fn handle_text(&mut self, now: Time, attempt: Attempt, size: usize) {
        if let (Link::Connected(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_text(now, size, &mut self.shared);
        }
    }

    /// Handles bytes of a message that is transferred and not complete, in either direction.
    pub fn handle_progress(&mut self, now: Time, attempt: Attempt) {
        if let (Link::Connected(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_progress(now, &mut self.shared);
        }
    }

    /// Handles any other traffic from the cloud, such as a ping.
    pub fn handle_traffic(&mut self, now: Time, attempt: Attempt) {
        if let (Link::Connected(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_traffic(now, &mut self.shared);
        }
    }

    /// Handles a pong.
    pub fn handle_pong(&mut self, now: Time, attempt: Attempt) {
        if let (Link::Connected(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_pong(now, &mut self.shared);
        }
    }

    /// Handles the end of a link that this end did not ask for.
    pub fn handle_lost(&mut self, now: Time, attempt: Attempt, reason: LostReason) {
        if attempt != self.shared.attempt {
            return;
        }
        let next = match &self.link {
            Link::Unregistered(_) | Link::Waiting(_) | Link::Closed => None,
            Link::Dialing(it) => Some(it.on_lost(reason, &mut self.shared)),
            Link::Connected(it) => Some(it.on_lost(now, reason, &mut self.shared)),
        };
        self.enter(now, next);
    }

    /// Handles every deadline that has passed. Does nothing if called early.
    pub fn handle_timeout(&mut self, now: Time) {
        self.check_suspend(now);
        while let Some(timer) = self.shared.out.timers.take_due(now) {
            match timer {
                Timer::Store => self.shared.tokens.start_next(&mut self.shared.out),
                Timer::Load => self.shared.out.push(Action::LoadToken),
                Timer::Queue => self.shared.outbox.on_queue_timer(now, &mut self.shared.out),
                Timer::Expiry => self.shared.outbox.expire(now, &mut self.shared.out),
                Timer::Retry
                | Timer::Phase
                | Timer::Ping
                | Timer::Pong
                | Timer::Stable
                | Timer::Token
                | Timer::Alive
                | Timer::Request
                | Timer::Acknowledge => self.on_link_timer(now, timer),
            }
        }
    }

    /// Shuts down for good: closes the link and answers waiting logins. After that, only
    /// `handle_stored` and `handle_queue` have an effect: they yield what is still pending for the disk.
    pub fn handle_shutdown(&mut self) {
        self.shared.logins.cancel(GiveUp::Shutdown, &mut self.shared.out);
        self.close_locally(CloseCode::GoingAway);
        self.link = Link::Closed;
        self.shared.out.timers = Timers::default();
        self.shared.tokens.shut_down(&mut self.shared.out);
        self.shared.outbox.shut_down(&mut self.shared.out);
    }

    fn on_link_timer(&mut self, now: Time, timer: Timer) {
        let next = match &mut self.link {
            Link::Unregistered(_) | Link::Closed => None,
            Link::Waiting(it) => Some(it.on_timeout()),
            Link::Dialing(it) => Some(it.on_timeout(&mut self.shared)),
            Link::Connected(it) => it.on_timer(now, timer, &mut self.shared),
        };
        self.enter(now, next);
    }

    /// Dials for a user who is waiting: earlier failures do not count.
    fn dial_now(&mut self, now: Time) {
        self.close_locally(CloseCode::Normal);
        self.shared.backoff.reset();
        self.enter(now, Some(Next::Dialing));
    }

    /// Ends the current link, attempt or wait on this end's initiative.
    fn close_locally(&mut self, code: CloseCode) {
        match &self.link {
            Link::Unregistered(_) | Link::Waiting(_) | Link::Closed => {}
            Link::Dialing(it) => it.close_locally(code, &mut self.shared),
            Link::Connected(it) => it.close_locally(code, &mut self.shared),
        }
        self.shared.out.timers.stop_link();
    }

    fn check_suspend(&mut self, now: Time) {
        if let Link::Connected(it) = &self.link {
            let next = it.check_suspend(now, &mut self.shared);
            self.enter(now, next);
        }
    }

    fn enter(&mut self, now: Time, next: Option<Next>) {
        let Some(next) = next else { return };
        let cx = &mut self.shared;
        cx.out.timers.stop_link();
        self.link = match next {
            Next::Waiting(retry) if cx.can_dial() => Link::Waiting(Waiting::begin(now, retry, cx)),
            Next::Waiting(_) => Link::Unregistered(Unregistered::begin(cx)),
            Next::Dialing => match Dialing::begin(now, cx) {
                Ok(it) => Link::Dialing(it),
                Err(next) => return self.enter(now, Some(next)),
            },
            Next::Session(welcome) => Link::Connected(Session::begin(now, &welcome, cx)),
        };
    }
}
