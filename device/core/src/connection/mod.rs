//! The connection: every input comes in here.

mod heartbeat;
mod login;
mod outcome;
mod session;

use std::collections::VecDeque;
use std::time::Duration;

use fedecks_protocol::{AuthRequest, CloseCode, IssuedToken, Proof};

use self::login::Login;
use self::outcome::Next;
use self::session::Session;
use crate::action::{Action, AuthHeader};
use crate::attempt::{Attempt, DialError, Phase};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::event::{Event, FailReason, LostReason};
use crate::request::{LoggedIn, LoginId, NotRegistered};
use crate::state::State;
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::token::{StoreOrder, Stored, TokenKeeper};
use crate::watch::Network;

/// The device's connection: see the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    link: Link,
    attempt: Attempt,
    backoff: Backoff,
    network: Option<Network>,
    tokens: TokenKeeper,
    /// The store was asked for a token and has not given one; it may be mounted late.
    looking: Option<Duration>,
    login: Option<Login>,
    /// The wait after the last order to the store, if that failed.
    store_wait: Duration,
    /// The login whose token is on its way to the store.
    storing_for: Option<LoginId>,
    round_trip: Option<Duration>,
    timers: Timers,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Link {
    Unregistered,
    Waiting {
        /// The cloud asked for this wait, or it goes with what the cloud said: no network event
        /// shortens it.
        ordered: bool,
        since: Time,
    },
    Dialing {
        phase: Phase,
        /// It carries the credentials of the login, not the token.
        by_login: bool,
        /// The network changed since it began: if it fails, the next one comes at once.
        hurry: bool,
    },
    Connected(Session),
    Closed,
}

/// First wait before the store is asked again whether it has a token.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// First wait before a failed order to the store is repeated.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest of these waits: each is twice as long as the one before.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Connection {
    /// A connection that begins by asking the store for a token. `seed` feeds its random waits and
    /// should differ from device to device and from start to start.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(&config, seed),
            config,
            link: Link::Unregistered,
            attempt: Attempt(0),
            network: None,
            tokens: TokenKeeper::default(),
            store_wait: Duration::ZERO,
            looking: Some(Duration::ZERO),
            login: None,
            storing_for: None,
            round_trip: None,
            timers: Timers::default(),
            actions: VecDeque::from([Action::LoadToken]),
        }
    }

    /// The next thing to do. The driver asks after every input until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` is to be called at the latest. It changes with every input.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// What the connection is doing.
    pub fn state(&self) -> State {
        let until = self.timers.get(Timer::Retry).unwrap_or_default();
        match self.link {
            Link::Unregistered => State::Unregistered,
            Link::Waiting { .. } if self.network == Some(Network::Down) => State::Offline { until },
            Link::Waiting { .. } => State::Waiting { until },
            Link::Dialing { .. } => State::Dialing { attempt: self.attempt },
            Link::Connected(_) => State::Connected,
            Link::Closed => State::Closed,
        }
    }

    /// The token that the next attempt will carry, if no login comes before.
    pub fn token(&self) -> Option<&IssuedToken> {
        self.tokens.get()
    }

    /// How many attempts or connections have failed since one was stable.
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// How many attempts there were.
    pub fn attempts(&self) -> u64 {
        self.attempt.0
    }

    /// How long the last ping that was answered took to come back, on this connection or an earlier
    /// one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What the network watch reported last; none while it has reported nothing, and when it said
    /// `Down` before the cloud's answer proved it wrong.
    pub fn network(&self) -> Option<Network> {
        self.network
    }

    /// Whether the store has what is known here.
    pub fn stored(&self) -> Stored {
        self.tokens.stored()
    }

    /// Ends the connection, the attempt or the wait that there is, even one that the cloud asked for,
    /// and dials at once: somebody is there and wants it. Without a token or a login to dial with
    /// nothing happens.
    pub fn handle_reconnect(&mut self, now: Time) -> Result<(), NotRegistered> {
        if self.login.is_none() && self.tokens.get().is_none() || matches!(self.link, Link::Closed)
        {
            return Err(NotRegistered);
        }
        self.let_go(CloseCode::Normal);
        self.backoff.reset();
        self.dial(now);
        Ok(())
    }

    /// The store's answer to [`Action::LoadToken`]. An error is told to the application; the store
    /// is asked again until it gives a token or a login or a logout makes that needless.
    pub fn handle_loaded(&mut self, now: Time, loaded: Result<Option<IssuedToken>, String>) {
        let Some(waited) = self.looking else { return };
        match loaded {
            Ok(Some(token)) => {
                self.looking = None;
                self.timers.stop(Timer::Load);
                self.tokens.loaded(token);
                if matches!(self.link, Link::Unregistered) {
                    self.schedule(now, Next::AtOnce);
                }
                return;
            }
            Ok(None) => {}
            Err(error) => self.emit(Event::StoreFailed { error }),
        }
        if waited.is_zero() && matches!(self.link, Link::Unregistered) {
            self.emit(Event::Unregistered);
        }
        let wait = waited.saturating_mul(2).clamp(FIRST_LOOK, LONGEST_WAIT);
        self.looking = Some(wait);
        self.timers.set(Timer::Load, now + wait);
    }

    /// The outcome of [`Action::StoreToken`] or [`Action::ForgetToken`]. What failed is repeated until
    /// it works: after a second, then after twice as long, up to a minute.
    pub fn handle_stored(&mut self, now: Time, result: Result<(), String>) {
        let persisted = result.is_ok();
        if let Err(error) = result {
            if !matches!(self.link, Link::Closed) {
                let wait = self.store_wait.saturating_mul(2).clamp(FIRST_RETRY, LONGEST_WAIT);
                self.store_wait = wait;
                self.timers.set(Timer::Store, now + wait);
                self.emit(Event::StoreFailed { error });
            }
        } else {
            self.store_wait = Duration::ZERO;
        }
        if let Some(order) = self.tokens.finished(persisted) {
            self.tell_store(order);
        } else if let Some(login) = self.storing_for.take() {
            self.answer(login, Ok(LoggedIn { persisted }));
        }
    }

    /// News from the network watch. A network that is back, or another one, ends the back-off, and
    /// a connection has to answer a ping soon. One that is gone makes the back-off the longest. It
    /// does nothing to a connection: TCP outlives the loss of a carrier, and best if nothing is sent
    /// meanwhile, for what is sent is repeated ever more rarely and the neighbour asked for every
    /// second only. If the network stays away, the next ordinary ping finds out.
    pub fn handle_network(&mut self, now: Time, network: Network) {
        self.notice_sleep(now);
        let was_down = self.network.replace(network) == Some(Network::Down);
        match &mut self.link {
            Link::Unregistered | Link::Closed => {}
            Link::Waiting { ordered: true, .. } => {}
            Link::Waiting { ordered: false, since } => match network {
                Network::Up | Network::Changed => self.hasten(now),
                Network::Down if was_down => {}
                Network::Down => {
                    let since = *since;
                    self.slacken(now, since);
                }
            },
            Link::Dialing { phase, hurry, .. } => match network {
                // Nothing has come back yet. What was sent went nowhere, and the kernel sends it
                // again only after seconds.
                Network::Up if was_down && matches!(phase, Phase::Resolve | Phase::Tcp) => {
                    self.let_go(CloseCode::GoingAway);
                    self.schedule(now, Next::AtOnce);
                }
                Network::Up | Network::Changed => {
                    *hurry = true;
                    let soon = now + self.config.probe_deadline;
                    let deadline = self.timers.get(Timer::Phase).map_or(soon, |at| at.min(soon));
                    self.timers.set(Timer::Phase, deadline);
                }
                Network::Down => {}
            },
            Link::Connected(_) => match network {
                Network::Up | Network::Changed => self.probe(now),
                Network::Down => {}
            },
        }
    }

    /// The attempt has entered a phase.
    pub fn handle_phase(&mut self, now: Time, attempt: Attempt, entered: Phase) {
        if attempt != self.attempt {
            return;
        }
        if let Link::Dialing { phase, .. } = &mut self.link {
            *phase = entered;
            let deadline = match entered {
                Phase::Resolve => self.config.resolve_deadline,
                Phase::Tcp => self.config.tcp_deadline,
                Phase::Tls => self.config.tls_deadline,
                Phase::Upgrade => self.config.upgrade_deadline,
                Phase::Welcome => self.config.welcome_deadline,
            };
            self.timers.set(Timer::Phase, now + deadline);
        }
    }

    /// How the attempt ended: in a WebSocket, on which the Welcome frame is awaited now, or not.
    pub fn handle_dialed(&mut self, now: Time, attempt: Attempt, result: Result<(), DialError>) {
        if attempt != self.attempt || !matches!(self.link, Link::Dialing { .. }) {
            return;
        }
        match result {
            Ok(()) => self.handle_phase(now, attempt, Phase::Welcome),
            Err(DialError::Unreachable(error)) => {
                self.fail(now, FailReason::Unreachable(error), Next::Backoff);
            }
            Err(DialError::Refused { refusal, retry_after }) => {
                self.refused(now, refusal, retry_after);
            }
        }
    }

    /// The link of this attempt ended without this end asking for it.
    pub fn handle_lost(&mut self, now: Time, attempt: Attempt, reason: LostReason) {
        if attempt == self.attempt {
            self.lost(now, reason);
        }
    }

    /// A deadline has come. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Time) {
        self.notice_sleep(now);
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Retry => self.dial(now),
                Timer::Phase => self.phase_timed_out(now),
                Timer::Ping => self.ping_is_due(now),
                Timer::Pong => self.pong_is_overdue(now),
                Timer::Stable => self.backoff.reset(),
                Timer::Token => self.token_is_overdue(now),
                Timer::Store => {
                    if let Some(order) = self.tokens.retry() {
                        self.tell_store(order);
                    }
                }
                Timer::Load => self.actions.push_back(Action::LoadToken),
            }
        }
    }

    /// The program ends: the link is closed, waiting logins are answered, nothing happens after but
    /// that an order to the store that waited for an earlier one comes out of `handle_stored`.
    pub fn handle_shutdown(&mut self) {
        self.give_up_login("the end of the program");
        self.let_go(CloseCode::GoingAway);
        self.link = Link::Closed;
        self.looking = None;
        self.timers = Timers::default();
        // The store may work by now.
        if let Some(order) = self.tokens.retry() {
            self.tell_store(order);
        }
    }

    fn dial(&mut self, now: Time) {
        let header = match (&self.login, self.tokens.get()) {
            (Some(login), _) => Ok(login.header.clone()),
            (None, Some(issued)) => AuthRequest {
                device_id: self.config.device_id.clone(),
                proof: Proof::Token(issued.token.clone()),
            }
            .to_header(self.config.dialect)
            .map(AuthHeader),
            (None, None) => return self.unregister(),
        };
        self.attempt = Attempt(self.attempt.0 + 1);
        let attempt = self.attempt;
        let by_login = self.login.is_some();
        self.link = Link::Dialing { phase: Phase::Resolve, by_login, hurry: false };
        self.emit(Event::Connecting { attempt });
        match header {
            Ok(header) => {
                self.timers.set(Timer::Phase, now + self.config.resolve_deadline);
                self.actions.push_back(Action::Dial { attempt, header });
            }
            // A token of legal length always fits; should it not, it is as good as unreachable.
            Err(error) => {
                self.fail(now, FailReason::Unreachable(error.to_string()), Next::Longest);
            }
        }
    }

    fn phase_timed_out(&mut self, now: Time) {
        if let Link::Dialing { phase, .. } = self.link {
            self.disconnect(CloseCode::GoingAway);
            self.fail(now, FailReason::Timeout(phase), Next::Backoff);
        }
    }

    /// Ends whatever link or attempt there is because this end wants it, and says so.
    fn let_go(&mut self, code: CloseCode) {
        match self.link {
            Link::Unregistered | Link::Waiting { .. } | Link::Closed => {}
            Link::Dialing { .. } => {
                self.disconnect(code);
                self.emit(Event::ConnectionFailed { reason: FailReason::GivenUp });
            }
            Link::Connected(_) => {
                self.disconnect(code);
                self.emit(Event::ConnectionLost { reason: LostReason::Local });
            }
        }
        self.stop_link_timers();
    }

    fn unregister(&mut self) {
        self.stop_link_timers();
        self.link = Link::Unregistered;
        self.emit(Event::Unregistered);
    }

    fn disconnect(&mut self, code: CloseCode) {
        self.actions.push_back(Action::Disconnect { attempt: self.attempt, code });
    }

    fn stop_link_timers(&mut self) {
        for timer in
            [Timer::Retry, Timer::Phase, Timer::Ping, Timer::Pong, Timer::Stable, Timer::Token]
        {
            self.timers.stop(timer);
        }
    }

    fn tell_store(&mut self, order: StoreOrder) {
        self.actions.push_back(match order {
            StoreOrder::Keep(token) => Action::StoreToken(token),
            StoreOrder::Forget => Action::ForgetToken,
        });
    }

    fn emit(&mut self, event: Event) {
        self.actions.push_back(Action::Emit(event));
    }
}
