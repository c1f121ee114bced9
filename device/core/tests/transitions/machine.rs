//! The connection, its clock, and the words in which the tests speak about both.

use std::ops::RangeInclusive;
use std::time::Duration;

use fedecks_device_core::{
    Action, Attempt, Config, Connection, DialError, Event, FailReason, LoggedIn, LoginError,
    LoginId, LogoutId, LostReason, Notice, Outgoing, Phase, SendError, SendId, State, Time,
};
use fedecks_protocol::{
    AuthRequest, CloseCode, CloseReason, Credentials, DeviceId, Dialect, DownFrame, IssuedToken,
    Limits, MAX_HEADER_CHARS, Proof, Refusal, Term, Token, UpFrame, Welcome,
};

pub(crate) const SPREAD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_millis(100);
pub(crate) const FIRST_BACKOFF: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);
pub(crate) const LONGEST: RangeInclusive<Duration> =
    Duration::from_secs(150)..=Duration::from_secs(300);

/// The name of whatever is sent: one at a time is.
const SEND: SendId = SendId(5);

/// What the connection did: an action, with the header of a dial opened.
#[derive(Debug, PartialEq)]
pub(crate) enum Did {
    Dial(u64, Proof),
    Else(Action),
}

/// A connection and its clock.
pub(crate) struct Machine {
    pub(crate) core: Connection,
    pub(crate) now: Time,
    /// What it wanted done while a message was sent.
    done: Vec<Action>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with_seed(7)
    }

    pub(crate) fn with_seed(seed: u64) -> Self {
        let config = Config::new(device_id());
        Self { core: Connection::new(config, seed), now: Time::new(secs(1_000)), done: Vec::new() }
    }

    /// There is no token, and the store is not asked for one any more.
    pub(crate) fn unregistered() -> Self {
        let mut it = Self::new();
        it.logout(1);
        it.stored();
        it.drain();
        it
    }

    /// Between the answer of the store and the first attempt.
    pub(crate) fn about_to_dial(seed: u64) -> Self {
        let mut it = Self::with_seed(seed);
        it.core.handle_loaded(it.now, Ok(Some(token("stored"))));
        it.drain();
        it
    }

    /// Attempt 1 is under way with the token "stored".
    pub(crate) fn dialing() -> Self {
        Self::dialing_with_seed(7)
    }

    pub(crate) fn dialing_with_seed(seed: u64) -> Self {
        let mut it = Self::about_to_dial(seed);
        it.keep_next_deadline();
        it.drain();
        it
    }

    /// Attempt 1 failed by itself: the back-off runs.
    pub(crate) fn backing_off() -> Self {
        let mut it = Self::dialing();
        it.unreachable(1);
        it.drain();
        it
    }

    /// Attempt 1 was refused for good: the longest wait runs.
    pub(crate) fn set_aside() -> Self {
        let mut it = Self::dialing();
        it.refused(1, Refusal::TokenInvalid, None);
        it.drain();
        it
    }

    /// Connected by the token "stored" in attempt 1.
    pub(crate) fn connected() -> Self {
        Self::connected_with(welcome())
    }

    pub(crate) fn connected_with(welcome: Welcome) -> Self {
        let mut it = Self::dialing();
        it.core.handle_dialed(it.now, Attempt(1), Ok(()));
        it.frame(1, &DownFrame::Welcome(welcome));
        it.drain();
        it
    }

    /// Login 1 is under way in attempt 1; there is no token.
    pub(crate) fn logging_in() -> Self {
        let mut it = Self::unregistered();
        it.login(1);
        it.drain();
        it
    }

    /// Login 1 is connected in attempt 1 and waits for its token.
    pub(crate) fn logged_in() -> Self {
        let mut it = Self::logging_in();
        it.welcomed(1);
        it.drain();
        it
    }

    /// Time goes by; nobody looks at deadlines.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Time goes by and every deadline on the way is kept.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.core.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// Goes to the earliest deadline and keeps it; gives how long that took.
    pub(crate) fn keep_next_deadline(&mut self) -> Duration {
        let at = self.core.poll_timeout().expect("a deadline");
        let took = at - self.now;
        self.now = at.max(self.now);
        self.core.handle_timeout(self.now);
        took
    }

    pub(crate) fn login(&mut self, id: u64) {
        self.core.handle_login(self.now, LoginId(id), credentials(id));
    }

    pub(crate) fn logout(&mut self, id: u64) {
        self.core.handle_logout(LogoutId(id));
    }

    /// Sends over a link that takes what it is given; gives the answer.
    pub(crate) fn send(&mut self, frame: &UpFrame) -> Result<(), SendError> {
        self.send_over(true, frame)
    }

    /// Sends over a link that takes what it is given, or is found dead; gives the answer.
    pub(crate) fn send_over(&mut self, alive: bool, frame: &UpFrame) -> Result<(), SendError> {
        self.core.handle_send(self.now, SEND, frame);
        loop {
            let action = self.core.poll_action().expect("an answer");
            if let Action::AnswerSend { send, result } = action {
                assert_eq!((send, self.core.poll_action()), (SEND, None));
                return result;
            }
            if let Action::Transmit { send: Some(send), .. } = action {
                self.core.handle_transmitted(send, alive);
            }
            self.done.push(action);
        }
    }

    pub(crate) fn welcomed(&mut self, attempt: u64) {
        self.core.handle_dialed(self.now, Attempt(attempt), Ok(()));
        self.frame(attempt, &DownFrame::Welcome(welcome()));
    }

    pub(crate) fn frame(&mut self, attempt: u64, frame: &DownFrame) {
        let bytes = Dialect::Bincode.encode_down(frame, &Limits::default()).unwrap();
        self.core.handle_message(self.now, Attempt(attempt), &bytes);
    }

    pub(crate) fn refused(&mut self, attempt: u64, refusal: Refusal, retry_after: Option<u64>) {
        let retry_after = retry_after.map(secs);
        let error = DialError::Refused { refusal, retry_after };
        self.core.handle_dialed(self.now, Attempt(attempt), Err(error));
    }

    pub(crate) fn unreachable(&mut self, attempt: u64) {
        let error = DialError::Unreachable("no route".into());
        self.core.handle_dialed(self.now, Attempt(attempt), Err(error));
    }

    pub(crate) fn closed(&mut self, attempt: u64, close: CloseReason) {
        self.core.handle_lost(self.now, Attempt(attempt), LostReason::Closed(close));
    }

    pub(crate) fn broken(&mut self, attempt: u64) {
        self.core.handle_lost(self.now, Attempt(attempt), LostReason::Broken("reset".into()));
    }

    pub(crate) fn stored(&mut self) {
        self.core.handle_stored(self.now, Ok(()));
    }

    pub(crate) fn not_stored(&mut self) {
        self.core.handle_stored(self.now, Err("read-only".into()));
    }

    /// Everything that the connection wants done now.
    pub(crate) fn drain(&mut self) -> Vec<Did> {
        let done = std::mem::take(&mut self.done);
        done.into_iter()
            .chain(std::iter::from_fn(|| self.core.poll_action()))
            .map(|action| match action {
                Action::Dial { attempt, header } => Did::Dial(attempt.0, open(header.expose())),
                Action::Transmit { .. }
                | Action::LoadToken
                | Action::Disconnect { .. }
                | Action::StoreToken(_)
                | Action::ForgetToken
                | Action::TrustTime { .. }
                | Action::AnswerLogin { .. }
                | Action::AnswerLogout { .. }
                | Action::AnswerSend { .. }
                | Action::Emit(_)
                | Action::Log(_) => Did::Else(action),
            })
            .collect()
    }

    /// It wants exactly this.
    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: impl IntoIterator<Item = Did>) {
        let wanted: Vec<Did> = wanted.into_iter().collect();
        assert_eq!(self.drain(), wanted);
    }

    /// It wants exactly this and then waits for the next attempt, for a time out of `range`, which
    /// it tells the application and is the earliest of its deadlines.
    #[track_caller]
    pub(crate) fn expect_wait(
        &mut self,
        wanted: impl IntoIterator<Item = Did>,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let delay = self.wait();
        self.expect(wanted.into_iter().chain([emit(Event::ConnectionScheduled { delay })]));
        assert!(range.contains(&delay), "{delay:?} is not in {range:?}");
        delay
    }

    /// How long the wait for the next attempt lasts from now.
    #[track_caller]
    pub(crate) fn wait(&self) -> Duration {
        match self.core.state() {
            State::Waiting { until } | State::Offline { until } => until - self.now,
            state @ (State::Unregistered
            | State::Dialing { .. }
            | State::Connected
            | State::Closed) => panic!("not waiting but {state:?}"),
        }
    }

    /// The wait ends and the attempt begins, with this proof.
    #[track_caller]
    pub(crate) fn expect_dial_after_wait(&mut self, attempt: u64, proof: Proof) {
        self.now = self.now + self.wait();
        self.core.handle_timeout(self.now);
        self.expect(dial(attempt, proof));
    }

    pub(crate) fn held_token(&self) -> Option<&str> {
        self.core.token().map(|issued| issued.token.expose())
    }
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn device_id() -> DeviceId {
    DeviceId::new("device-123").unwrap()
}

pub(crate) fn token(text: &str) -> IssuedToken {
    IssuedToken { token: Token::new(text).unwrap(), expires_at: 2_000_000_000 }
}

/// The credentials of this login.
pub(crate) fn credentials(login: u64) -> Credentials {
    Credentials::new().with("username", "marvin").with("password", format!("secret-{login}"))
}

pub(crate) fn by_token(text: &str) -> Proof {
    Proof::Token(token(text).token)
}

pub(crate) fn by_login(login: u64) -> Proof {
    Proof::Credentials(credentials(login))
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        server_time_ms: 1_700_000_000_000,
        heartbeat: secs(19),
        idle_timeout: secs(60),
        max_frame: 65_536,
    }
}

pub(crate) fn message(text: &str) -> UpFrame {
    UpFrame::Message { sequence: None, term: Term::from(text) }
}

pub(crate) fn emit(event: Event) -> Did {
    Did::Else(Action::Emit(event))
}

pub(crate) fn dial(attempt: u64, proof: Proof) -> [Did; 2] {
    [emit(Event::Connecting { attempt: Attempt(attempt) }), Did::Dial(attempt, proof)]
}

pub(crate) fn connected() -> [Did; 2] {
    let server_time_ms = welcome().server_time_ms;
    [Did::Else(Action::TrustTime { server_time_ms }), emit(Event::Connected)]
}

pub(crate) fn failed(reason: FailReason) -> Did {
    emit(Event::ConnectionFailed { reason })
}

pub(crate) fn refusal_failed(refusal: Refusal) -> Did {
    failed(FailReason::Refused(refusal))
}

pub(crate) fn unreachable_failed() -> Did {
    failed(FailReason::Unreachable("no route".into()))
}

pub(crate) fn timed_out(phase: Phase) -> Did {
    failed(FailReason::Timeout(phase))
}

pub(crate) fn lost(reason: LostReason) -> Did {
    emit(Event::ConnectionLost { reason })
}

pub(crate) fn lost_by_reset() -> Did {
    lost(LostReason::Broken("reset".into()))
}

pub(crate) fn disconnect(attempt: u64, code: CloseCode) -> Did {
    Did::Else(Action::Disconnect { attempt: Attempt(attempt), code })
}

pub(crate) fn ping(attempt: u64) -> Did {
    Did::Else(Action::Transmit { attempt: Attempt(attempt), message: Outgoing::Ping, send: None })
}

pub(crate) fn transmit(attempt: u64, frame: &UpFrame) -> Did {
    let bytes = Dialect::Bincode.encode_up(frame, &Limits::default()).unwrap();
    // Only what the application sends is answered.
    let send = (*frame != UpFrame::TokenPlease).then_some(SEND);
    let message = Outgoing::Frame(bytes);
    Did::Else(Action::Transmit { attempt: Attempt(attempt), message, send })
}

pub(crate) fn load() -> Did {
    Did::Else(Action::LoadToken)
}

pub(crate) fn store(text: &str) -> Did {
    Did::Else(Action::StoreToken(token(text)))
}

pub(crate) fn forget() -> Did {
    Did::Else(Action::ForgetToken)
}

pub(crate) fn store_failed() -> Did {
    emit(Event::StoreFailed { error: "read-only".into() })
}

pub(crate) fn answer(login: u64, result: Result<LoggedIn, LoginError>) -> Did {
    Did::Else(Action::AnswerLogin { login: LoginId(login), result })
}

pub(crate) fn answer_logout(logout: u64, result: Result<(), String>) -> Did {
    Did::Else(Action::AnswerLogout { logout: LogoutId(logout), result })
}

pub(crate) fn log(notice: Notice) -> Did {
    Did::Else(Action::Log(notice))
}

fn open(header: &str) -> Proof {
    let request = AuthRequest::from_header(header.as_bytes(), Dialect::Bincode, MAX_HEADER_CHARS);
    let request = request.unwrap();
    assert_eq!(request.device_id, device_id());
    request.proof
}
