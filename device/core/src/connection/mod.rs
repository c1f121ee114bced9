//! The connection: every input comes in here and goes to the state that it finds, which says where
//! to go next. Nothing is decided here but what holds in every state.

mod dialing;
mod heartbeat;
mod login;
mod next;
mod output;
mod retry_policy;
mod session;
mod shared;
mod token_store;
mod unregistered;
mod waiting;

use std::time::Duration;

use fedecks_protocol::{CloseCode, Credentials, IssuedToken, Proof, UpFrame};

use self::dialing::Dialing;
use self::login::answer;
use self::next::Next;
use self::session::Session;
use self::shared::Shared;
pub use self::token_store::Stored;
use self::unregistered::Unregistered;
use self::waiting::Waiting;
use crate::action::{Action, AuthHeader};
use crate::attempt::{Attempt, DialError, Phase};
use crate::config::Config;
use crate::event::LostReason;
use crate::request::{GiveUp, LoginError, LoginId, LogoutId, NotRegistered, SendError, SendId};
use crate::state::State;
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::watch::Network;

/// The device's connection: see the crate's documentation for how to drive it.
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
    /// Shut down: nothing is an input any more but the outcome of an order to the store.
    Closed,
}

impl Connection {
    /// A connection that begins by asking the store for a token. `seed` feeds its random waits and
    /// should differ from device to device and from start to start.
    pub fn new(config: Config, seed: u64) -> Self {
        Self { link: Link::Unregistered(Unregistered), shared: Shared::new(config, seed) }
    }

    /// The next thing to do. The driver asks after every input until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.shared.out.actions.pop_front()
    }

    /// When `handle_timeout` is to be called at the latest. It changes with every input.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.shared.out.timers.next()
    }

    /// What the connection is doing.
    pub fn state(&self) -> State {
        let until = self.shared.out.timers.get(Timer::Retry).unwrap_or_default();
        match self.link {
            Link::Unregistered(_) => State::Unregistered,
            Link::Waiting(_) if self.network() == Some(Network::Down) => State::Offline { until },
            Link::Waiting(_) => State::Waiting { until },
            Link::Dialing(_) => State::Dialing { attempt: self.shared.attempt },
            Link::Connected(_) => State::Connected,
            Link::Closed => State::Closed,
        }
    }

    /// The token that the next attempt will carry, if no login comes before.
    pub fn token(&self) -> Option<&IssuedToken> {
        self.shared.tokens.get()
    }

    /// How many attempts or connections have failed since one was stable.
    pub fn failures(&self) -> u32 {
        self.shared.backoff.failures()
    }

    /// How many attempts there were.
    pub fn attempts(&self) -> u64 {
        self.shared.attempt.0
    }

    /// How long the last ping that was answered took to come back, on this connection or an earlier
    /// one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.round_trip
    }

    /// What the network watch reported last; none while it has reported nothing, and when it said
    /// `Down` before the cloud's answer proved it wrong.
    pub fn network(&self) -> Option<Network> {
        self.shared.network
    }

    /// Whether the store has what is known here.
    pub fn stored(&self) -> Stored {
        self.shared.tokens.stored()
    }

    /// Logs in with credentials. A connection or attempt that is there is ended first. While the
    /// cloud cannot be reached the login waits, through any number of attempts; it is answered by
    /// [`Action::AnswerLogin`] when the cloud has refused it, when its token was given to the
    /// store, or when a newer login, a logout or a shutdown came first.
    pub fn handle_login(&mut self, now: Time, id: LoginId, credentials: Credentials) {
        let cx = &mut self.shared;
        let header = if matches!(self.link, Link::Closed) {
            Err(LoginError::GivenUp(GiveUp::Shutdown))
        } else {
            AuthHeader::new(&cx.config, Proof::Credentials(credentials)).map_err(Into::into)
        };
        match header {
            Ok(header) => {
                cx.logins.begin(id, header, &mut cx.out);
                self.dial_at_once(now);
            }
            Err(error) => answer(id, Err(error), &mut cx.out),
        }
    }

    /// Forgets the token, in memory and in the store, and ends the connection. It is answered by
    /// [`Action::AnswerLogout`] when the store has been told everything. After the shutdown nothing
    /// happens, not even an answer.
    pub fn handle_logout(&mut self, id: LogoutId) {
        if matches!(self.link, Link::Closed) {
            return;
        }
        self.shared.logins.log_out(id, &mut self.shared.out);
        self.close_locally(CloseCode::Normal);
        let cx = &mut self.shared;
        cx.tokens.forget(&mut cx.out);
        self.link = Link::Unregistered(Unregistered::begin(cx));
    }

    /// Ends the connection, the attempt or the wait that there is, even one that the cloud asked for,
    /// and dials at once: somebody is there and wants it. Without a token or a login to dial with
    /// nothing happens.
    pub fn handle_reconnect(&mut self, now: Time) -> Result<(), NotRegistered> {
        if !self.shared.can_dial() || matches!(self.link, Link::Closed) {
            return Err(NotRegistered);
        }
        self.dial_at_once(now);
        Ok(())
    }

    /// Sends a frame if there is a connection. It is answered by [`Action::AnswerSend`]: at once if
    /// the frame cannot go out, otherwise when the link has taken it or not. Nothing is kept: on an
    /// error the caller still has it.
    pub fn handle_send(&mut self, now: Time, id: SendId, frame: &UpFrame) {
        self.notice_sleep(now);
        match &mut self.link {
            Link::Connected(it) => it.on_send(now, id, frame, &mut self.shared),
            Link::Unregistered(_) | Link::Waiting(_) | Link::Dialing(_) | Link::Closed => {
                self.shared.out.answer_send(id, Err(SendError::NotConnected));
            }
        }
    }

    /// Whether the link took what [`Action::Transmit`] gave it for this. If not, it is dead, which
    /// `handle_lost` brings as soon as what came before that is read: the cloud may have said why.
    pub fn handle_transmitted(&mut self, id: SendId, taken: bool) {
        let result = if taken { Ok(()) } else { Err(SendError::NotConnected) };
        self.shared.out.answer_send(id, result);
    }

    /// The store's answer to [`Action::LoadToken`]. An error is told to the application; the store
    /// is asked again until it gives a token or a login or a logout makes that needless.
    pub fn handle_loaded(&mut self, now: Time, loaded: Result<Option<IssuedToken>, String>) {
        let cx = &mut self.shared;
        let loaded = cx.tokens.on_loaded(now, loaded, &mut cx.out);
        if let Link::Unregistered(it) = &self.link {
            let next = it.on_loaded(loaded, cx);
            self.go(now, next);
        }
    }

    /// The outcome of [`Action::StoreToken`] or [`Action::ForgetToken`]. What failed is repeated until
    /// it works: after a second, then after twice as long, up to a minute.
    pub fn handle_stored(&mut self, now: Time, result: Result<(), String>) {
        let cx = &mut self.shared;
        if cx.tokens.on_stored(now, &result, &mut cx.out) {
            cx.logins.on_stored(&result, &mut cx.out);
        }
    }

    /// News from the network watch. A network that is back, or another one, ends the back-off, and
    /// a connection has to answer a ping soon. One that is gone makes the back-off the longest, and
    /// does nothing to a connection.
    pub fn handle_network(&mut self, now: Time, network: Network) {
        self.notice_sleep(now);
        let cx = &mut self.shared;
        let was_down = cx.network.replace(network) == Some(Network::Down);
        let next = match &mut self.link {
            Link::Unregistered(_) | Link::Closed => None,
            Link::Waiting(it) => return it.on_network(now, network, was_down, cx),
            Link::Dialing(it) => it.on_network(now, network, was_down, cx),
            Link::Connected(it) => return it.on_network(now, network, cx),
        };
        self.go(now, next);
    }

    /// The attempt has entered a phase.
    pub fn handle_phase(&mut self, now: Time, attempt: Attempt, entered: Phase) {
        if let (Link::Dialing(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_phase(now, entered, &mut self.shared);
        }
    }

    /// How the attempt ended: in a WebSocket, on which the Welcome frame is awaited now, or not.
    pub fn handle_dialed(&mut self, now: Time, attempt: Attempt, result: Result<(), DialError>) {
        if let (Link::Dialing(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            let next = it.on_dialed(now, result, &mut self.shared);
            self.go(now, next);
        }
    }

    /// A binary message came on the link of this attempt.
    pub fn handle_message(&mut self, now: Time, attempt: Attempt, bytes: &[u8]) {
        if attempt != self.shared.attempt {
            return;
        }
        let next = match &mut self.link {
            Link::Unregistered(_) | Link::Waiting(_) | Link::Closed => None,
            Link::Dialing(it) => it.on_message(bytes, &mut self.shared),
            Link::Connected(it) => return it.on_message(now, bytes, &mut self.shared),
        };
        self.go(now, next);
    }

    /// A text message came on the link of this attempt; it means nothing but that the cloud lives.
    pub fn handle_text(&mut self, now: Time, attempt: Attempt, size: usize) {
        if let (Link::Connected(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_text(now, size, &mut self.shared);
        }
    }

    /// Anything came on the link of this attempt: a pong, a ping, part of a message.
    pub fn handle_traffic(&mut self, now: Time, attempt: Attempt) {
        if let (Link::Connected(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_traffic(now, &mut self.shared);
        }
    }

    /// The answer to a ping came on the link of this attempt.
    pub fn handle_pong(&mut self, now: Time, attempt: Attempt) {
        if let (Link::Connected(it), true) = (&mut self.link, attempt == self.shared.attempt) {
            it.on_pong(now, &mut self.shared);
        }
    }

    /// The link of this attempt ended without this end asking for it.
    pub fn handle_lost(&mut self, now: Time, attempt: Attempt, reason: LostReason) {
        if attempt != self.shared.attempt {
            return;
        }
        let next = match &self.link {
            Link::Unregistered(_) | Link::Waiting(_) | Link::Closed => None,
            Link::Dialing(it) => Some(it.on_lost(reason, &mut self.shared)),
            Link::Connected(it) => Some(it.on_lost(reason, &mut self.shared)),
        };
        self.go(now, next);
    }

    /// A deadline has come. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Time) {
        self.notice_sleep(now);
        while let Some(timer) = self.shared.out.timers.take_due(now) {
            match timer {
                Timer::Store => self.shared.tokens.tell(&mut self.shared.out),
                Timer::Load => self.shared.out.push(Action::LoadToken),
                Timer::Retry
                | Timer::Phase
                | Timer::Ping
                | Timer::Pong
                | Timer::Stable
                | Timer::Token => self.on_link_timer(now, timer),
            }
        }
    }

    /// The program ends: the link is closed, waiting logins are answered, nothing happens after but
    /// that an order to the store that waited for an earlier one comes out of `handle_stored`.
    pub fn handle_shutdown(&mut self) {
        self.shared.logins.give_up(GiveUp::Shutdown, &mut self.shared.out);
        self.close_locally(CloseCode::GoingAway);
        self.link = Link::Closed;
        self.shared.out.timers = Timers::default();
        self.shared.tokens.shut_down(&mut self.shared.out);
    }

    fn on_link_timer(&mut self, now: Time, timer: Timer) {
        let next = match &mut self.link {
            Link::Unregistered(_) | Link::Closed => None,
            Link::Waiting(it) => Some(it.on_timeout()),
            Link::Dialing(it) => Some(it.on_timeout(&mut self.shared)),
            Link::Connected(it) => it.on_timer(now, timer, &mut self.shared),
        };
        self.go(now, next);
    }

    /// Somebody is there and waits: what failed before does not count.
    fn dial_at_once(&mut self, now: Time) {
        self.close_locally(CloseCode::Normal);
        self.shared.backoff.reset();
        self.go(now, Some(Next::Dialing));
    }

    /// Ends whatever link, attempt or wait there is because this end wants it, and says so.
    fn close_locally(&mut self, code: CloseCode) {
        match &self.link {
            Link::Unregistered(_) | Link::Waiting(_) | Link::Closed => {}
            Link::Dialing(it) => it.close_locally(code, &mut self.shared),
            Link::Connected(it) => it.close_locally(code, &mut self.shared),
        }
        self.shared.out.timers.stop_link();
    }

    fn notice_sleep(&mut self, now: Time) {
        if let Link::Connected(it) = &self.link {
            let next = it.notice_sleep(now, &mut self.shared);
            self.go(now, next);
        }
    }

    fn go(&mut self, now: Time, next: Option<Next>) {
        let Some(next) = next else { return };
        let cx = &mut self.shared;
        cx.out.timers.stop_link();
        self.link = match next {
            Next::Waiting(retry) if cx.can_dial() => Link::Waiting(Waiting::begin(now, retry, cx)),
            Next::Waiting(_) => Link::Unregistered(Unregistered::begin(cx)),
            Next::Dialing => match Dialing::begin(now, cx) {
                Ok(it) => Link::Dialing(it),
                Err(next) => return self.go(now, Some(next)),
            },
            Next::Session(welcome) => Link::Connected(Session::begin(now, &welcome, cx)),
        };
    }
}
