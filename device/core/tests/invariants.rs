//! What holds whatever comes in, in whatever order, at whatever time.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not count as tests")]

use std::collections::HashSet;
use std::time::Duration;

use fedecks_device_core::{
    Action, Attempt, Config, Connection, DialError, Event, LoginId, LogoutId, LostReason, Network,
    Outgoing, Phase, SendError, SendId, State, Stored, Time,
};
use fedecks_protocol::{
    AuthRequest, CloseCode, CloseReason, Credentials, DeviceId, Dialect, DownFrame, IssuedToken,
    Limits, MAX_HEADER_CHARS, Proof, Refusal, RequestId, Term, Token, UpFrame, Welcome,
};
use proptest::prelude::*;

/// The most actions that one input gives.
const MOST_ACTIONS: usize = 8;
/// What the configuration and the protocol's bounds allow at most.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600 + 360);
const LONGEST_PHASE: Duration = Duration::from_secs(20);
const PONG_DEADLINE: Duration = Duration::from_secs(10);

/// Whose news this is.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Current,
    Older,
    Newer,
}

#[derive(Debug, Clone)]
enum Input {
    /// Time goes by without anybody looking at deadlines.
    Pass(Duration),
    Timeout,
    /// Time goes by until the earliest deadline, which is kept.
    NextDeadline,
    Loaded(Result<Option<u8>, ()>),
    Stored(bool),
    Login,
    LongLogin,
    Logout,
    Reconnect,
    Shutdown,
    Network(Network),
    Phase(Whose, Phase),
    Dialed(Whose, Result<(), DialError>),
    Frame(Whose, DownFrame),
    Bytes(Whose, Vec<u8>),
    Text(Whose),
    Traffic(Whose),
    Pong(Whose),
    Lost(Whose, LostReason),
    /// Over a link that takes it, or is found dead.
    Send(UpFrame, bool),
}

fn input() -> impl Strategy<Value = Input> {
    let whose = || {
        prop_oneof![
            12 => Just(Whose::Current),
            1 => Just(Whose::Older),
            1 => Just(Whose::Newer),
        ]
    };
    let phase = prop::sample::select(vec![
        Phase::Resolve,
        Phase::Tcp,
        Phase::Tls,
        Phase::Upgrade,
        Phase::Welcome,
    ]);
    let network = prop::sample::select(vec![Network::Up, Network::Changed, Network::Down]);
    prop_oneof![
        4 => duration().prop_map(Input::Pass),
        4 => Just(Input::Timeout),
        12 => Just(Input::NextDeadline),
        3 => prop_oneof![
            Just(Err(())),
            Just(Ok(None)),
            any::<u8>().prop_map(|n| Ok(Some(n))),
        ].prop_map(Input::Loaded),
        4 => any::<bool>().prop_map(Input::Stored),
        2 => Just(Input::Login),
        1 => Just(Input::LongLogin),
        1 => Just(Input::Logout),
        1 => Just(Input::Reconnect),
        4 => network.prop_map(Input::Network),
        3 => (whose(), phase).prop_map(|(whose, phase)| Input::Phase(whose, phase)),
        6 => (whose(), dialed()).prop_map(|(whose, result)| Input::Dialed(whose, result)),
        10 => (whose(), frame()).prop_map(|(whose, frame)| Input::Frame(whose, frame)),
        2 => (whose(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(whose, bytes)| Input::Bytes(whose, bytes)),
        1 => whose().prop_map(Input::Text),
        3 => whose().prop_map(Input::Traffic),
        3 => whose().prop_map(Input::Pong),
        3 => (whose(), lost()).prop_map(|(whose, reason)| Input::Lost(whose, reason)),
        3 => (up_frame(), any::<bool>()).prop_map(|(frame, alive)| Input::Send(frame, alive)),
    ]
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let some = || prop::collection::vec(input(), 0..120);
    // A shutdown somewhere, and more after it.
    let after = prop::collection::vec(input(), 0..20);
    (any::<bool>(), some(), after).prop_map(|(has_token, mut inputs, after)| {
        if has_token {
            inputs.insert(0, Input::Loaded(Ok(Some(1))));
        }
        inputs.push(Input::Shutdown);
        inputs.extend(after);
        inputs
    })
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..2_000).prop_map(Duration::from_millis),
        (0_u64..100_000).prop_map(Duration::from_millis),
        (0_u64..1_000_000).prop_map(Duration::from_secs),
    ]
}

fn dialed() -> impl Strategy<Value = Result<(), DialError>> {
    let retry_after = prop::option::of((0_u64..10_000).prop_map(Duration::from_secs));
    prop_oneof![
        3 => Just(Ok(())),
        1 => Just(Err(DialError::Unreachable("no route".into()))),
        2 => (prop::sample::select(Refusal::ALL.to_vec()), retry_after).prop_map(
            |(refusal, retry_after)| Err(DialError::Refused { refusal, retry_after })
        ),
    ]
}

fn frame() -> impl Strategy<Value = DownFrame> {
    let welcome = (0_u64..500, any::<u32>(), any::<u32>()).prop_map(
        |(heartbeat, idle_timeout, max_frame)| {
            DownFrame::Welcome(Welcome {
                server_time_ms: 1,
                heartbeat: Duration::from_secs(heartbeat),
                idle_timeout: Duration::from_secs(u64::from(idle_timeout)),
                max_frame,
            })
        },
    );
    prop_oneof![
        5 => welcome,
        3 => any::<u8>().prop_map(|n| DownFrame::Token(token(n))),
        1 => Just(DownFrame::Message { sequence: None, term: Term::from("hello") }),
        1 => Just(DownFrame::Raw { sequence: None, bytes: vec![1, 2] }),
        1 => Just(DownFrame::Request { request: RequestId(1), term: Term::Nil }),
    ]
}

fn lost() -> impl Strategy<Value = LostReason> {
    let code = prop::sample::select(vec![
        1000, 1001, 1002, 1008, 1009, 1011, 1012, 1013, 4401, 4401, 4403, 4409, 4999,
    ]);
    let retry_after = prop::option::of((0_u64..10_000).prop_map(Duration::from_secs));
    prop_oneof![
        2 => (code, retry_after).prop_map(|(code, retry_after)| {
            LostReason::Closed(CloseReason { code: CloseCode::from(code), retry_after })
        }),
        1 => Just(LostReason::Broken("reset".into())),
        1 => Just(LostReason::NoPong),
    ]
}

fn up_frame() -> impl Strategy<Value = UpFrame> {
    prop_oneof![
        (0_usize..5_000).prop_map(|size| UpFrame::Raw { sequence: None, bytes: vec![0; size] }),
        Just(UpFrame::TokenPlease),
        Just(UpFrame::Unknown { kind: 9 }),
    ]
}

fn token(number: u8) -> IssuedToken {
    IssuedToken { token: Token::new(format!("token-{number}")).unwrap(), expires_at: 1 }
}

/// The connection and what an onlooker, who sees inputs and actions only, knows about it.
struct Onlooker {
    core: Connection,
    now: Time,
    /// The attempt or link that the driver holds, and whether it carries credentials.
    link: Option<(Attempt, bool)>,
    /// Its Welcome has come: how long the device may be silent.
    welcomed: Option<Duration>,
    last_attempt: Attempt,
    logins: u64,
    unanswered: HashSet<LoginId>,
    logouts: u64,
    logouts_answered: u64,
    ever_forgotten: bool,
    store_busy: bool,
    store_wait: Duration,
    store_retry: Option<Time>,
    /// The store may still be asked for a token.
    looking: bool,
    load_armed: bool,
    shut_down: bool,
}

impl Onlooker {
    fn new(seed: u64) -> Self {
        let mut it = Self {
            core: Connection::new(Config::new(DeviceId::new("device-123").unwrap()), seed),
            now: Time::default(),
            link: None,
            welcomed: None,
            last_attempt: Attempt(0),
            logins: 0,
            unanswered: HashSet::new(),
            logouts: 0,
            logouts_answered: 0,
            ever_forgotten: false,
            store_busy: false,
            store_wait: Duration::ZERO,
            store_retry: None,
            looking: true,
            load_armed: false,
            shut_down: false,
        };
        assert_eq!(it.core.poll_action(), Some(Action::LoadToken));
        it.check_state();
        it
    }

    fn attempt(&self, whose: Whose) -> Attempt {
        match whose {
            Whose::Current => self.last_attempt,
            Whose::Older => Attempt(self.last_attempt.0.saturating_sub(1)),
            Whose::Newer => Attempt(self.last_attempt.0 + 1),
        }
    }

    /// Whether news of this attempt is about the link that the driver holds.
    fn is_live(&self, attempt: Attempt) -> bool {
        self.link.is_some_and(|(current, _)| current == attempt)
    }

    fn give(&mut self, input: Input) {
        let had_token = self.core.token().is_some();
        let (mut may_forget, mut may_answer_late, mut order_may_follow) = (false, false, false);
        let now = self.now;
        match input {
            Input::Pass(time) => self.now = now + time,
            Input::Timeout => self.keep_deadlines(),
            Input::NextDeadline => {
                self.now = self.core.poll_timeout().unwrap_or(now).max(now);
                self.keep_deadlines();
            }
            Input::Loaded(found) => {
                if self.looking {
                    self.load_armed = !matches!(found, Ok(Some(_)));
                    self.looking = self.load_armed;
                }
                let found = found.map(|found| found.map(token)).map_err(|()| "gone".into());
                self.core.handle_loaded(now, found);
            }
            Input::Stored(works) => {
                self.store_busy = false;
                order_may_follow = true;
                if works {
                    self.store_wait = Duration::ZERO;
                } else if !self.shut_down {
                    self.store_wait = (self.store_wait * 2)
                        .max(Duration::from_secs(1))
                        .min(Duration::from_secs(60));
                    self.store_retry = Some(now + self.store_wait);
                }
                let result = if works { Ok(()) } else { Err("read-only".into()) };
                self.core.handle_stored(now, result);
            }
            Input::Login => {
                may_answer_late = true;
                self.login(Credentials::new().with("password", "towel"));
            }
            Input::LongLogin => {
                may_answer_late = true;
                self.login(Credentials::new().with("password", "x".repeat(5_000)));
            }
            Input::Logout => {
                if !self.shut_down {
                    may_forget = true;
                    self.stop_looking();
                }
                self.core.handle_logout(LogoutId(self.logouts + 1));
                // Nobody answers one after the end.
                self.logouts += u64::from(!self.shut_down);
            }
            Input::Reconnect => {
                let may = self.core.handle_reconnect(now).is_ok();
                let dials = matches!(self.core.state(), State::Dialing { .. });
                assert!(!may || dials, "a reconnect without an attempt");
            }
            Input::Shutdown => {
                self.core.handle_shutdown();
                self.stop_looking();
                self.store_retry = None;
            }
            Input::Network(network) => self.core.handle_network(now, network),
            Input::Phase(whose, phase) => {
                self.core.handle_phase(now, self.attempt(whose), phase);
            }
            Input::Dialed(whose, result) => {
                let attempt = self.attempt(whose);
                if self.is_live(attempt) && self.welcomed.is_none() && result.is_err() {
                    let by_token = self.link.is_some_and(|(_, by_login)| !by_login);
                    may_forget = by_token
                        && matches!(
                            result,
                            Err(DialError::Refused {
                                refusal: Refusal::TokenExpired | Refusal::TokenRevoked,
                                ..
                            })
                        );
                    self.link_ended();
                }
                self.core.handle_dialed(now, attempt, result);
            }
            Input::Frame(whose, frame) => {
                let attempt = self.attempt(whose);
                if self.is_live(attempt) {
                    match (&frame, self.welcomed) {
                        (DownFrame::Welcome(welcome), None) => {
                            let heartbeat = welcome.heartbeat.as_secs().clamp(1, 300);
                            self.welcomed = Some(Duration::from_secs(heartbeat));
                        }
                        (DownFrame::Token(_), Some(_)) => self.stop_looking(),
                        _ => {}
                    }
                }
                let bytes = Dialect::Bincode.encode_down(&frame, &Limits::default()).unwrap();
                self.core.handle_message(now, attempt, &bytes);
            }
            Input::Bytes(whose, bytes) => {
                let attempt = self.attempt(whose);
                // Garbage that happens to be a frame is given as one.
                if let Ok(frame) = Dialect::Bincode.decode_down(&bytes, &Limits::default()) {
                    if !matches!(frame, DownFrame::Unknown { .. }) {
                        return self.give(Input::Frame(whose, frame));
                    }
                }
                self.core.handle_message(now, attempt, &bytes);
            }
            Input::Text(whose) => self.core.handle_text(now, self.attempt(whose), 7),
            Input::Traffic(whose) => self.core.handle_traffic(now, self.attempt(whose)),
            Input::Pong(whose) => self.core.handle_pong(now, self.attempt(whose)),
            Input::Lost(whose, reason) => {
                let attempt = self.attempt(whose);
                if self.is_live(attempt) {
                    may_forget = matches!(
                        reason,
                        LostReason::Closed(CloseReason { code: CloseCode::Revoked, .. })
                    );
                    self.link_ended();
                }
                self.core.handle_lost(now, attempt, reason);
            }
            Input::Send(frame, alive) => return self.send(&frame, alive),
        }
        self.ever_forgotten |= may_forget;
        if may_forget {
            self.stop_looking();
            assert!(self.core.token().is_none());
        }
        if had_token && !may_forget {
            assert!(self.core.token().is_some(), "the token was forgotten without a reason");
        }
        for action in self.drain() {
            if self.shut_down {
                let answer = matches!(action, Action::AnswerLogin { .. });
                let order = matches!(
                    action,
                    Action::StoreToken(_) | Action::ForgetToken | Action::AnswerLogout { .. }
                );
                let allowed = (answer && may_answer_late) || (order && order_may_follow);
                assert!(allowed, "{action:?} after the end");
            }
            self.watch(action);
        }
        if matches!(self.core.state(), State::Closed) && !self.shut_down {
            self.shut_down = true;
            assert!(self.unanswered.is_empty(), "logins without an answer");
        }
        self.check_state();
    }

    fn keep_deadlines(&mut self) {
        self.core.handle_timeout(self.now);
        assert!(self.core.poll_timeout().is_none_or(|at| at > self.now), "a deadline is left");
        self.store_retry = self.store_retry.filter(|at| *at > self.now);
    }

    fn login(&mut self, credentials: Credentials) {
        self.logins += 1;
        let id = LoginId(self.logins);
        self.unanswered.insert(id);
        self.core.handle_login(self.now, id, credentials);
    }

    /// A frame is sent or given back, never both and never neither.
    fn send(&mut self, frame: &UpFrame, alive: bool) {
        let id = SendId(7);
        self.core.handle_send(self.now, id, frame);
        let mut actions = self.drain();
        let transmitted = actions
            .iter()
            .filter(|action| matches!(action, Action::Transmit { send: Some(it), .. } if *it == id))
            .count();
        if transmitted == 1 {
            assert_eq!(actions.len(), 1);
            self.core.handle_transmitted(id, alive);
            let result = if alive { Ok(()) } else { Err(SendError::NotConnected) };
            assert_eq!(self.drain(), [Action::AnswerSend { send: id, result }]);
        } else {
            let on_link = |action: &Action| {
                matches!(action, Action::Transmit { message: Outgoing::Frame(_), .. })
            };
            assert!(!actions.iter().any(on_link), "a refused frame went out: {actions:?}");
            let answer = actions.pop();
            assert!(matches!(answer, Some(Action::AnswerSend { result: Err(_), .. })));
        }
        for action in actions {
            assert!(!matches!(action, Action::AnswerSend { .. }), "a second answer");
            self.watch(action);
        }
        self.check_state();
    }

    fn drain(&mut self) -> Vec<Action> {
        let actions: Vec<_> = std::iter::from_fn(|| self.core.poll_action()).collect();
        let logouts = actions.iter().filter(|it| matches!(it, Action::AnswerLogout { .. })).count();
        assert!(actions.len() - logouts <= MOST_ACTIONS, "{actions:?}");
        actions
    }

    fn watch(&mut self, action: Action) {
        match action {
            Action::Dial { attempt, header } => {
                assert_eq!(self.link, None, "a second link");
                assert!(attempt > self.last_attempt);
                self.last_attempt = attempt;
                let header = header.expose().as_bytes();
                let request = AuthRequest::from_header(header, Dialect::Bincode, MAX_HEADER_CHARS);
                let by_login = match request.unwrap().proof {
                    Proof::Token(token) => {
                        assert_eq!(Some(&token), self.core.token().map(|issued| &issued.token));
                        false
                    }
                    Proof::Credentials(_) => {
                        assert!(self.unanswered.contains(&LoginId(self.newest_login())));
                        true
                    }
                };
                self.link = Some((attempt, by_login));
            }
            Action::Transmit { attempt, .. } => {
                assert!(self.is_live(attempt) && self.welcomed.is_some());
            }
            Action::Disconnect { attempt, .. } => {
                assert!(self.is_live(attempt));
                self.link_ended();
            }
            Action::StoreToken(token) => {
                assert!(!std::mem::replace(&mut self.store_busy, true), "two orders at once");
                assert_eq!(Some(&token), self.core.token(), "not the newest token");
            }
            Action::ForgetToken => {
                assert!(!std::mem::replace(&mut self.store_busy, true), "two orders at once");
                assert!(self.ever_forgotten && self.core.token().is_none());
            }
            Action::LoadToken => {
                assert!(std::mem::replace(&mut self.load_armed, false) && self.looking);
            }
            Action::AnswerLogin { login, .. } => {
                assert!(self.unanswered.remove(&login), "{login:?} was answered before");
            }
            Action::AnswerLogout { logout, result } => {
                self.logouts_answered += 1;
                assert_eq!(logout, LogoutId(self.logouts_answered), "not in their order");
                assert!(!self.store_busy, "{logout:?} was answered too early");
                let told =
                    self.core.stored() == if result.is_ok() { Stored::Yes } else { Stored::Failed };
                assert!(told, "{logout:?} was told {result:?}");
            }
            Action::TrustTime { .. } | Action::Emit(Event::Connected) => {
                assert!(self.welcomed.is_some());
            }
            Action::AnswerSend { .. } | Action::Emit(_) | Action::Log(_) => {}
        }
    }

    /// Logins that can wait are answered when a newer one comes: only the last can be under way.
    fn newest_login(&self) -> u64 {
        self.unanswered.iter().map(|login| login.0).max().unwrap_or(0)
    }

    fn link_ended(&mut self) {
        self.link = None;
        self.welcomed = None;
    }

    fn stop_looking(&mut self) {
        self.looking = false;
        self.load_armed = false;
    }

    /// What the connection says about itself is what the onlooker knows; it never waits without a
    /// deadline, and never for longer than it may.
    fn check_state(&self) {
        // A logout waits for the store and for nothing else.
        if !self.store_busy {
            assert_eq!(self.logouts_answered, self.logouts, "logouts without an answer");
        }
        let deadline = self.core.poll_timeout();
        let within = |most: Duration| {
            assert!(deadline.is_some_and(|at| at <= self.now + most), "{:?}", self.core);
        };
        match self.core.state() {
            State::Unregistered => {
                assert_eq!(self.link, None);
                assert_eq!(self.core.token(), None);
                let armed = self.load_armed || self.store_retry.is_some();
                assert_eq!(deadline.is_some(), armed, "{:?}", self.core);
            }
            State::Waiting { until } | State::Offline { until } => {
                assert_eq!(self.link, None);
                assert!(until <= self.now + LONGEST_WAIT);
                within(LONGEST_WAIT);
            }
            State::Dialing { attempt } => {
                assert!(self.is_live(attempt) && self.welcomed.is_none());
                within(LONGEST_PHASE);
            }
            State::Connected => {
                let heartbeat = self.welcomed.unwrap();
                assert!(self.link.is_some());
                within(heartbeat.max(PONG_DEADLINE));
            }
            State::Closed => {
                assert_eq!(self.link, None);
                assert_eq!(deadline, None);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn hold_whatever_comes_in(seed: u64, inputs in inputs()) {
        let mut it = Onlooker::new(seed);
        for input in inputs {
            it.give(input);
        }
        prop_assert!(it.unanswered.is_empty());
        prop_assert_eq!(it.core.state(), State::Closed);
    }
}
