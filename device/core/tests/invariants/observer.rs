//! Gives inputs to a connection, and checks after each what is known about it from its inputs and actions.
//! Also used by the fuzz target `device_core`.

use std::time::Duration;

use fedecks_device_core::*;
use fedecks_protocol::*;

use crate::input::{Input, LinkInput, token};
use crate::kept::{KEEP_BYTES, Kept, is_one_of_many};
use crate::known::Known;
use crate::requests::Requests;

/// The maximum number of actions per input.
const MAX_ACTIONS: usize = 8;
/// The maximum that the configuration and the limits of the protocol allow.
const MAX_WAIT: Duration = Duration::from_secs(3_600 + 360);
const MAX_PHASE: Duration = Duration::from_secs(31);
/// Over a slow link.
const PONG_DEADLINE: Duration = Duration::from_secs(30);

/// The connection, and what is known about it from its inputs and actions.
pub(crate) struct Observer {
    core: Connection,
    now: Time,
    known: Known,
    kept: Kept,
    requests: Requests,
}

impl Observer {
    /// A connection that loads its token.
    pub(crate) fn new(seed: u64) -> Self {
        let config = Config::new(DeviceId::new("device-123").unwrap());
        let mut it = Self {
            core: Connection::new(Config { keep_bytes: KEEP_BYTES, ..config }, seed),
            now: Time::default(),
            known: Known::default(),
            kept: Kept::default(),
            requests: Requests::default(),
        };
        assert_eq!(it.core.poll_action(), Some(Action::LoadToken));
        it.check_state();
        it
    }

    /// Whether this is the attempt or link of the driver.
    fn is_live(&self, attempt: Attempt) -> bool {
        self.known.link.is_some_and(|(current, _)| current == attempt)
    }

    /// Gives an input, and checks everything that it has changed.
    pub(crate) fn give(&mut self, input: Input) {
        let had_token = self.core.token().is_some();
        let mut may_forget = false;
        let mut allowed_after_shutdown: fn(&Action) -> bool = |_| false;
        let now = self.now;
        match input {
            Input::Pass(time) => self.now = now + time,
            Input::Timeout => self.keep_deadlines(),
            Input::NextDeadline => {
                self.now = self.core.poll_timeout().unwrap_or(now).max(now);
                self.keep_deadlines();
            }
            Input::Loaded(found) => {
                if !self.known.loading_ended {
                    self.known.load_armed = !matches!(found, Ok(Some(_)));
                    self.known.loading_ended = !self.known.load_armed;
                }
                self.core.handle_loaded(now, found);
            }
            Input::Stored(result) => {
                self.known.store_busy = false;
                allowed_after_shutdown = |action| {
                    let command = matches!(action, Action::StoreToken(_) | Action::ForgetToken);
                    command || matches!(action, Action::AnswerLogout { .. })
                };
                if result.is_ok() {
                    self.known.store_wait = Duration::ZERO;
                } else if !self.known.shut_down {
                    let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
                    self.known.store_wait = (self.known.store_wait * 2).clamp(base, cap);
                    self.known.store_retry = Some(now + self.known.store_wait);
                }
                self.core.handle_stored(now, result);
            }
            Input::Login(size, has_nonce) => {
                allowed_after_shutdown = |action| matches!(action, Action::AnswerLogin { .. });
                self.known.log_in(&mut self.core, now, size, has_nonce);
            }
            Input::Nonce => self.known.give_nonce(&mut self.core, now),
            Input::Logout => {
                may_forget = !self.known.shut_down;
                self.core.handle_logout(LogoutId(self.known.logouts + 1));
                // It is not answered after the shutdown.
                self.known.logouts += u64::from(!self.known.shut_down);
            }
            Input::Reconnect => {
                let may = self.core.handle_reconnect(now).is_ok();
                let dials = matches!(self.core.state(), State::Dialing { .. });
                assert!(!may || dials, "a reconnect without an attempt");
            }
            Input::Shutdown => {
                self.core.handle_shutdown();
                self.stop_loading();
                self.known.store_retry = None;
            }
            Input::Network(network) => self.core.handle_network(now, network),
            Input::From(offset, input) => {
                let attempt = self.known.last_attempt.saturating_add_signed(offset);
                may_forget = self.give_from(Attempt(attempt), input);
            }
            Input::Send(frame, alive) => return self.send(&frame, alive),
            Input::Confirm(alive) => return self.send_to_confirm(alive),
            Input::Keep { lane, size, expires_in } => {
                allowed_after_shutdown = |action| matches!(action, Action::AnswerKeep { .. });
                let content = NewContent::Raw(vec![0; size]);
                let kept =
                    NewKept { lane, content, sent_at_ms: None, expires_in, place: Place::Memory };
                self.core.handle_keep(now, KeepId(1), kept);
            }
            Input::Acknowledge(outcome) => self.kept.acknowledge(&mut self.core, now, outcome),
            Input::Writable => self.core.handle_writable(now),
            Input::Ask(timeout) => {
                allowed_after_shutdown = |action| matches!(action, Action::AnswerRequest { .. });
                let id = self.requests.next();
                self.core.handle_request(now, id, &Term::Nil, timeout);
            }
            Input::Reply => {
                let question = self.requests.newest_question();
                // One that cannot be encoded is an answer too: that the device failed.
                let result = self.core.handle_reply(now, question, Ok(&Term::Nil));
                if !matches!(result, Err(ReplyError::NotWaiting)) {
                    self.requests.answered(question);
                }
            }
        }
        self.known.ever_forgotten |= may_forget;
        if may_forget {
            self.known.late = false;
            self.stop_loading();
            assert!(self.core.token().is_none());
        }
        if had_token && !may_forget {
            assert!(self.core.token().is_some(), "the token was forgotten without a reason");
        }
        for action in self.drain() {
            let allowed = !self.known.shut_down || allowed_after_shutdown(&action);
            assert!(allowed, "{action:?} after the shutdown");
            self.watch(action);
        }
        if matches!(self.core.state(), State::Closed) && !self.known.shut_down {
            self.known.shut_down = true;
            assert!(self.known.unanswered.is_empty(), "logins without an answer");
        }
        self.check_state();
    }

    /// Gives an input from this attempt. Returns whether it allows the token to be forgotten.
    fn give_from(&mut self, attempt: Attempt, input: LinkInput) -> bool {
        let now = self.now;
        let mut may_forget = false;
        match input {
            LinkInput::Phase(phase) => self.core.handle_phase(now, attempt, phase),
            LinkInput::Dialed(result) => {
                if self.is_live(attempt) && self.known.welcomed.is_none() && result.is_err() {
                    let by_token = self.known.link.is_some_and(|(_, by_login)| !by_login);
                    if let (true, Err(DialError::Refused { refusal, .. })) = (by_token, &result) {
                        may_forget = *refusal == Refusal::TokenRevoked;
                        self.known.late |= *refusal == Refusal::TokenExpired;
                    }
                    self.link_ended();
                }
                self.core.handle_dialed(now, attempt, result);
            }
            LinkInput::Frame(frame) => {
                if self.is_live(attempt) {
                    match (&frame, self.known.welcomed) {
                        (DownFrame::Welcome(welcome), None) => {
                            let heartbeat = welcome.heartbeat.as_secs().clamp(1, 300);
                            self.known.welcomed = Some(Duration::from_secs(heartbeat));
                            self.known.late &=
                                self.known.link.is_some_and(|(_, by_login)| by_login);
                        }
                        (DownFrame::Token(_), Some(_)) => {
                            self.known.late = false;
                            self.stop_loading();
                        }
                        _ => {}
                    }
                }
                let bytes = Dialect::Bincode.encode_down(&frame, &Limits::default()).unwrap();
                self.core.handle_message(now, attempt, &bytes);
            }
            LinkInput::Bytes(bytes) => {
                // Garbage that happens to be a frame is given as one.
                match Dialect::Bincode.decode_down(&bytes, &Limits::default()) {
                    Err(_) | Ok(DownFrame::Unknown { .. }) => {
                        self.core.handle_message(now, attempt, &bytes);
                    }
                    Ok(frame) => return self.give_from(attempt, LinkInput::Frame(frame)),
                }
            }
            LinkInput::Text => self.core.handle_text(now, attempt, 7),
            LinkInput::Traffic => self.core.handle_traffic(now, attempt),
            LinkInput::Progress => self.core.handle_progress(now, attempt),
            LinkInput::Pong => self.core.handle_pong(now, attempt),
            LinkInput::Lost(reason) => {
                if self.is_live(attempt) {
                    may_forget =
                        matches!(&reason, LostReason::Closed(it) if it.code == CloseCode::Revoked);
                    self.link_ended();
                }
                self.core.handle_lost(now, attempt, reason);
            }
        }
        may_forget
    }

    /// Whatever has happened, the connection works again with a cloud that accepts it: by its token if there
    /// is one, within the longest wait and without any input but the passing of time.
    pub(crate) fn recover(&mut self) {
        self.give(Input::Nonce);
        let (start, had_token) = (self.now, self.core.token().is_some());
        // A message that expires is a deadline too.
        for _ in 0..64 + 2 * self.kept.len() {
            match self.core.state() {
                State::Loading | State::Unregistered => {
                    assert!(!had_token);
                    self.give(Input::Login(5, true));
                }
                State::Waiting { .. } | State::Offline { .. } | State::Late { .. } => {
                    self.give(Input::NextDeadline);
                }
                State::Dialing { .. } => {
                    self.give(Input::From(0, LinkInput::Dialed(Ok(()))));
                    self.give(Input::From(0, LinkInput::Frame(DownFrame::Welcome(welcome()))));
                }
                State::Connected => {
                    self.give(Input::From(0, LinkInput::Frame(DownFrame::Token(token(0)))));
                    break;
                }
                State::Closed | _ => return,
            }
        }
        assert_eq!(self.core.state(), State::Connected, "{:?}", self.core);
        assert!(self.now - start <= MAX_WAIT, "after {:?}", self.now - start);
        for _ in 0..3 {
            self.give(Input::Stored(Ok(())));
        }
        assert!(self.known.unanswered.is_empty(), "logins without an answer");
        assert_eq!(self.core.stored(), Stored::Yes);
    }

    /// After the shutdown nothing is left to answer.
    pub(crate) fn check_closed(&self) {
        assert!(self.known.unanswered.is_empty());
        assert_eq!(self.core.state(), State::Closed);
    }

    fn keep_deadlines(&mut self) {
        self.core.handle_timeout(self.now);
        assert!(self.core.poll_timeout().is_none_or(|at| at > self.now), "a deadline is left");
        self.known.store_retry = self.known.store_retry.filter(|at| *at > self.now);
    }

    /// A frame is either sent or given back.
    fn send(&mut self, frame: &UpFrame, alive: bool) {
        let id = SendId(7);
        self.core.handle_send(self.now, id, frame, false);
        let mut actions = self.drain();
        if let [Action::Transmit { send: Some(SendId(7)), .. }] = actions[..] {
            self.core.handle_transmitted(id, alive);
            let result = if alive { Ok(()) } else { Err(SendError::NotConnected) };
            assert_eq!(self.drain(), [Action::AnswerSend { send: id, result }]);
        } else {
            let on_link =
                |it: &Action| matches!(it, Action::Transmit { message: Outgoing::Frame(_), .. });
            assert!(!actions.iter().any(on_link), "a refused frame went out: {actions:?}");
            let answer = actions.pop();
            assert!(matches!(answer, Some(Action::AnswerSend { send: SendId(7), result: Err(_) })));
        }
        let again = |it: &Action| matches!(it, Action::AnswerSend { send: SendId(7), .. });
        assert!(!actions.iter().any(again), "a second answer");
        actions.into_iter().for_each(|action| self.watch(action));
        self.check_state();
    }

    /// A message that is to be confirmed is answered once, at the end of the link at the latest.
    fn send_to_confirm(&mut self, alive: bool) {
        let (id, frame) = (self.kept.next_send(), UpFrame::Raw { sequence: None, bytes: vec![1] });
        self.core.handle_send(self.now, id, &frame, true);
        let mut actions = self.drain();
        if actions.iter().any(|it| matches!(it, Action::Transmit { send: Some(_), .. })) {
            self.core.handle_transmitted(id, alive);
            actions.extend(self.drain());
        }
        actions.into_iter().for_each(|action| self.watch(action));
        self.check_state();
    }

    fn drain(&mut self) -> Vec<Action> {
        let actions: Vec<_> = std::iter::from_fn(|| self.core.poll_action()).collect();
        let others = actions.iter().filter(|it| !is_one_of_many(it)).count();
        assert!(others <= MAX_ACTIONS, "{actions:?}");
        actions
    }

    fn watch(&mut self, action: Action) {
        self.kept.watch(&action);
        self.requests.watch(&action);
        match action {
            Action::Dial { attempt, header } => {
                assert_eq!(self.known.link, None, "a second link");
                assert!(attempt.0 > self.known.last_attempt);
                self.known.last_attempt = attempt.0;
                let header = header.expose().as_bytes();
                let request = AuthRequest::from_header(header, Dialect::Bincode, MAX_HEADER_CHARS);
                let by_login = match request.unwrap().proof {
                    Proof::Token(token) => {
                        assert_eq!(Some(&token), self.core.token().map(|issued| &issued.token));
                        false
                    }
                    Proof::Credentials(_) => {
                        assert!(!self.known.unanswered.is_empty());
                        true
                    }
                };
                self.known.link = Some((attempt, by_login));
            }
            Action::AnswerKeep { .. } | Action::Settle { .. } => {}
            Action::AnswerRequest { .. } | Action::CancelRequest { .. } => {}
            Action::Queue(job) => assert!(self.core.disk_queue().is_some(), "{job:?}"),
            Action::Transmit { attempt, .. } => {
                assert!(self.is_live(attempt) && self.known.welcomed.is_some());
            }
            Action::Disconnect { attempt, .. } => {
                assert!(self.is_live(attempt));
                self.link_ended();
            }
            Action::StoreToken(token) => {
                self.occupy_store();
                assert_eq!(Some(&token), self.core.token(), "not the newest token");
            }
            Action::LoadNonce { login } => self.known.on_load_nonce(login),
            Action::ForgetNonce => assert!(self.core.token().is_none()),
            Action::ForgetToken => {
                self.occupy_store();
                assert!(self.known.ever_forgotten && self.core.token().is_none());
            }
            Action::LoadToken => {
                assert!(self.known.load_armed && !self.known.loading_ended);
                self.known.load_armed = false;
            }
            Action::AnswerLogin { login, .. } => {
                assert!(self.known.unanswered.remove(&login), "{login:?} was answered before");
            }
            Action::AnswerLogout { logout, result } => {
                // With all before it.
                assert!(logout.0 > self.known.logouts_answered, "{logout:?} was answered before");
                self.known.logouts_answered = logout.0;
                assert!(!self.known.store_busy, "{logout:?} was answered too early");
                let stored = if result.is_ok() { Stored::Yes } else { Stored::Failed };
                assert_eq!(self.core.stored(), stored, "{logout:?}: {result:?}");
            }
            Action::TrustTime { .. }
            | Action::Deliver(_)
            | Action::DeliverRequest { .. }
            | Action::DeliverKept(_)
            | Action::Emit(Event::Connected) => {
                assert!(self.known.welcomed.is_some());
            }
            Action::Emit(Event::TokenLate) => {
                assert!(self.known.late && !self.known.late_told, "late for no reason");
                self.known.late_told = true;
            }
            Action::AnswerSend { .. }
            | Action::StorePositions(_)
            | Action::Emit(_)
            | Action::Log(_) => {}
        }
    }

    fn occupy_store(&mut self) {
        assert!(!self.known.store_busy, "two commands at once");
        self.known.store_busy = true;
    }

    fn link_ended(&mut self) {
        self.known.link = None;
        self.known.welcomed = None;
    }

    fn stop_loading(&mut self) {
        self.known.loading_ended = true;
        self.known.load_armed = false;
    }

    /// The connection's state is what the observer knows, and its next deadline is within bounds.
    fn check_state(&mut self) {
        let late = self.known.late;
        assert_eq!(self.core.token_is_late(), late);
        self.known.late_told &= late;
        assert_eq!(self.known.late_told, late, "the application does not know what is needed");
        // A logout only waits for the store.
        let all_answered = self.known.logouts_answered == self.known.logouts;
        assert!(self.known.store_busy || all_answered, "logouts without an answer");
        self.requests.check(self.core.state() == State::Connected);
        self.kept.check(&self.core, self.core.state() == State::Connected);
        let deadline = self.core.poll_timeout();
        let within = |bound: Duration| {
            assert!(deadline.is_some_and(|at| at <= self.now + bound), "{:?}", self.core);
        };
        match self.core.state() {
            State::Loading | State::Unregistered => {
                assert_eq!(self.known.link, None);
                assert_eq!(self.core.token(), None);
                let armed = self.known.load_armed || self.known.store_retry.is_some();
                let is_left = deadline.is_some() && self.kept.any;
                assert!(deadline.is_some() == armed || is_left, "{:?}", self.core);
            }
            state @ (State::Waiting { until }
            | State::Offline { until }
            | State::Late { until }) => {
                assert_eq!(matches!(state, State::Late { .. }), late);
                assert_eq!(self.known.link, None);
                assert!(until <= self.now + MAX_WAIT);
                within(MAX_WAIT);
            }
            State::Dialing { attempt } => {
                assert!(self.is_live(attempt) && self.known.welcomed.is_none());
                within(MAX_PHASE);
            }
            State::Connected => {
                let heartbeat = self.known.welcomed.unwrap();
                assert!(self.known.link.is_some());
                within(heartbeat.max(PONG_DEADLINE));
            }
            State::Closed | _ => {
                assert_eq!(self.known.link, None);
                assert_eq!(deadline, None);
            }
        }
    }
}

fn welcome() -> Welcome {
    let (heartbeat, idle_timeout) = (Duration::from_secs(19), Duration::from_secs(60));
    Welcome { server_time_ms: 1, heartbeat, idle_timeout, max_frame: 65_536, delivery: None }
}
