//! The connection and its clock, with helpers to drive it.

use std::ops::RangeInclusive;
pub(crate) use std::time::Duration;

pub(crate) use fedecks_device_core::*;
pub(crate) use fedecks_protocol::*;

pub(crate) use crate::outputs::*;

pub(crate) const SPREAD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_millis(100);
pub(crate) const FIRST_BACKOFF: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);
pub(crate) const MAX_BACKOFF: RangeInclusive<Duration> =
    Duration::from_secs(150)..=Duration::from_secs(300);

pub(crate) struct Machine {
    pub(crate) core: Connection,
    pub(crate) now: Time,
    /// Actions that were taken while a message was sent.
    taken: Vec<Action>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with_seed(7)
    }

    fn with_seed(seed: u64) -> Self {
        Self::with_core(Connection::new(Config::new(device_id()), seed))
    }

    pub(crate) fn with_core(core: Connection) -> Self {
        Self { core, now: Time::new(secs(1_000)), taken: Vec::new() }
    }

    /// There is no token, and loading is not retried.
    pub(crate) fn unregistered() -> Self {
        Self::new().after(|it| it.logout(1).stored())
    }

    /// Between loading the token "stored" and the first attempt.
    pub(crate) fn about_to_dial(seed: u64) -> Self {
        Self::with_seed(seed).after(|it| it.loaded(Ok(Some(token("stored")))))
    }

    /// Attempt 1 is in progress with the token "stored".
    pub(crate) fn dialing() -> Self {
        Self::about_to_dial(7).after(Self::keep_next_deadline)
    }

    /// Attempt 1 could not reach the cloud: the backoff runs.
    pub(crate) fn backing_off() -> Self {
        Self::dialing().after(|it| it.unreachable(1))
    }

    /// Attempt 1 was rejected: the maximum backoff runs.
    pub(crate) fn rejected() -> Self {
        Self::dialing().after(|it| it.refused(1, Refusal::TokenInvalid, None))
    }

    /// Attempt 1 was refused because the token has expired: the maximum backoff runs.
    pub(crate) fn late() -> Self {
        Self::dialing().after(|it| it.refused(1, Refusal::TokenExpired, None))
    }

    /// Attempt 1 was refused with a delay of 100 s.
    pub(crate) fn turned_away() -> Self {
        Self::dialing().after(|it| it.refused(1, Refusal::Unavailable, Some(100)))
    }

    /// Connected by the token "stored" in attempt 1.
    pub(crate) fn connected() -> Self {
        Self::connected_with(welcome())
    }

    pub(crate) fn connected_with(welcome: Welcome) -> Self {
        Self::dialing().after(|it| it.dialed(1, Ok(())).frame(1, &DownFrame::Welcome(welcome)))
    }

    /// Login 1 dials in attempt 1; there is no token.
    pub(crate) fn logging_in() -> Self {
        Self::unregistered().after(|it| it.login(1))
    }

    /// Login 1 is connected in attempt 1 and waits for its token.
    pub(crate) fn logged_in() -> Self {
        Self::logging_in().after(|it| it.welcomed(1))
    }

    pub(crate) fn shut_down() -> Self {
        Self::connected().after(Self::shutdown)
    }

    /// Gives inputs and discards the outputs.
    pub(crate) fn after(mut self, inputs: impl FnOnce(&mut Self) -> &mut Self) -> Self {
        inputs(&mut self).discard_outputs();
        self
    }

    /// Lets time pass without keeping deadlines.
    pub(crate) fn pass(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self
    }

    /// Lets time pass without keeping deadlines, then keeps all that are due.
    pub(crate) fn wake_after(&mut self, time: Duration) -> &mut Self {
        self.pass(time).give(Connection::handle_timeout)
    }

    /// Lets time pass and keeps every deadline.
    pub(crate) fn run_for(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.core.handle_timeout(self.now);
        }
        self.now = end;
        self
    }

    /// Goes to the earliest deadline and keeps it.
    pub(crate) fn keep_next_deadline(&mut self) -> &mut Self {
        self.wake_after(self.core.poll_timeout().expect("a deadline") - self.now)
    }

    /// Goes to the earliest deadline, which is exactly that far away, and keeps it.
    #[track_caller]
    pub(crate) fn keep_deadline_in(&mut self, time: Duration) -> &mut Self {
        assert_eq!(self.core.poll_timeout(), Some(self.now + time));
        self.wake_after(time)
    }

    /// Gives an input at the current time.
    pub(crate) fn give(&mut self, input: impl FnOnce(&mut Connection, Time)) -> &mut Self {
        input(&mut self.core, self.now);
        self
    }

    pub(crate) fn loaded(&mut self, result: Result<Option<IssuedToken>, String>) -> &mut Self {
        self.give(|core, now| core.handle_loaded(now, result))
    }

    pub(crate) fn stored(&mut self) -> &mut Self {
        self.give(|core, now| core.handle_stored(now, Ok(())))
    }

    pub(crate) fn not_stored(&mut self) -> &mut Self {
        self.give(|core, now| core.handle_stored(now, Err("read-only".into())))
    }

    pub(crate) fn login(&mut self, id: u64) -> &mut Self {
        self.give(|core, now| core.handle_login(now, LoginId(id), credentials(id)))
    }

    pub(crate) fn logout(&mut self, id: u64) -> &mut Self {
        self.give(|core, _| core.handle_logout(LogoutId(id)))
    }

    pub(crate) fn shutdown(&mut self) -> &mut Self {
        self.give(|core, _| core.handle_shutdown())
    }

    pub(crate) fn network(&mut self, network: Network) -> &mut Self {
        self.give(|core, now| core.handle_network(now, network))
    }

    /// Sends over a link that accepts everything. Returns the answer.
    pub(crate) fn send(&mut self, frame: &UpFrame) -> Result<(), SendError> {
        self.send_over(true, frame)
    }

    /// Sends over a link that is alive or found dead. Returns the answer.
    pub(crate) fn send_over(&mut self, alive: bool, frame: &UpFrame) -> Result<(), SendError> {
        self.core.handle_send(self.now, SEND, frame, false);
        loop {
            let action = self.core.poll_action().expect("an answer");
            if let Action::AnswerSend { send, result } = action {
                assert_eq!((send, self.core.poll_action()), (SEND, None));
                return result;
            }
            if let Action::Transmit { send: Some(send), .. } = action {
                self.core.handle_transmitted(send, alive);
            }
            self.taken.push(action);
        }
    }

    /// Sends this in attempt 1, which transmits it.
    #[track_caller]
    pub(crate) fn expect_sent(&mut self, frame: &UpFrame) -> &mut Self {
        assert_eq!(self.send(frame), Ok(()));
        self.expect([transmit(1, frame)])
    }

    pub(crate) fn phase(&mut self, attempt: u64, phase: Phase) -> &mut Self {
        self.give(|core, now| core.handle_phase(now, Attempt(attempt), phase))
    }

    pub(crate) fn dialed(&mut self, attempt: u64, result: Result<(), DialError>) -> &mut Self {
        self.give(|core, now| core.handle_dialed(now, Attempt(attempt), result))
    }

    pub(crate) fn welcomed(&mut self, attempt: u64) -> &mut Self {
        self.dialed(attempt, Ok(())).frame(attempt, &DownFrame::Welcome(welcome()))
    }

    pub(crate) fn refused(
        &mut self,
        attempt: u64,
        refusal: Refusal,
        retry_after: Option<u64>,
    ) -> &mut Self {
        let retry_after = retry_after.map(secs);
        self.dialed(attempt, Err(DialError::Refused { refusal, retry_after }))
    }

    pub(crate) fn unreachable(&mut self, attempt: u64) -> &mut Self {
        self.dialed(
            attempt,
            Err(DialError::Unreachable { phase: Phase::Tcp, error: "no route".into() }),
        )
    }

    pub(crate) fn frame(&mut self, attempt: u64, frame: &DownFrame) -> &mut Self {
        self.bytes(attempt, &Dialect::Bincode.encode_down(frame, &Limits::default()).unwrap())
    }

    pub(crate) fn issued(&mut self, attempt: u64, text: &str) -> &mut Self {
        self.frame(attempt, &DownFrame::Token(token(text)))
    }

    pub(crate) fn bytes(&mut self, attempt: u64, bytes: &[u8]) -> &mut Self {
        self.give(|core, now| core.handle_message(now, Attempt(attempt), bytes))
    }

    pub(crate) fn text(&mut self, attempt: u64, size: usize) -> &mut Self {
        self.give(|core, now| core.handle_text(now, Attempt(attempt), size))
    }

    pub(crate) fn traffic(&mut self, attempt: u64) -> &mut Self {
        self.give(|core, now| core.handle_traffic(now, Attempt(attempt)))
    }

    pub(crate) fn progress(&mut self, attempt: u64) -> &mut Self {
        self.give(|core, now| core.handle_progress(now, Attempt(attempt)))
    }

    pub(crate) fn pong(&mut self, attempt: u64) -> &mut Self {
        self.give(|core, now| core.handle_pong(now, Attempt(attempt)))
    }

    pub(crate) fn lost(&mut self, attempt: u64, reason: LostReason) -> &mut Self {
        self.give(|core, now| core.handle_lost(now, Attempt(attempt), reason))
    }

    pub(crate) fn closed(&mut self, attempt: u64, close: CloseReason) -> &mut Self {
        self.lost(attempt, LostReason::Closed(close))
    }

    pub(crate) fn broken(&mut self, attempt: u64) -> &mut Self {
        self.lost(attempt, reset())
    }

    /// Takes all outputs.
    pub(crate) fn drain(&mut self) -> Vec<Output> {
        let taken = std::mem::take(&mut self.taken);
        let actions = taken.into_iter().chain(std::iter::from_fn(|| self.core.poll_action()));
        let output = |action| {
            if let Action::Dial { attempt, header } = action {
                Output::Dial(attempt.0, decode(header.expose()))
            } else if let Action::Deliver(message) = action {
                emit(Event::Message(message.decode().unwrap()))
            } else {
                Output::Other(action)
            }
        };
        actions.map(output).collect()
    }

    pub(crate) fn discard_outputs(&mut self) -> &mut Self {
        self.drain();
        self
    }

    /// The outputs are exactly these.
    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: impl IntoIterator<Item = Output>) -> &mut Self {
        assert_eq!(self.drain(), Vec::from_iter(wanted));
        self
    }

    /// The outputs are exactly these and the announcement of a delay in `range`, which is the
    /// earliest deadline.
    #[track_caller]
    pub(crate) fn expect_wait(
        &mut self,
        wanted: impl IntoIterator<Item = Output>,
        range: RangeInclusive<Duration>,
    ) -> &mut Self {
        let delay = self.wait();
        assert!(range.contains(&delay), "{delay:?} is not in {range:?}");
        self.expect(wanted.into_iter().chain([emit(Event::ConnectionScheduled { delay })]))
    }

    /// The wait ends and the attempt starts with this proof.
    #[track_caller]
    pub(crate) fn expect_dial_after_wait(&mut self, attempt: u64, proof: Proof) -> &mut Self {
        self.wake_after(self.wait()).expect(dial(attempt, proof))
    }

    #[track_caller]
    pub(crate) fn expect_state(&mut self, wanted: State) -> &mut Self {
        assert_eq!(self.core.state(), wanted);
        self
    }

    #[track_caller]
    pub(crate) fn expect_token(&mut self, wanted: Option<&str>) -> &mut Self {
        assert_eq!(self.snapshot().2.as_deref(), wanted);
        self
    }

    #[track_caller]
    pub(crate) fn expect_no_deadline(&mut self) -> &mut Self {
        assert_eq!(self.core.poll_timeout(), None);
        self
    }

    /// The rest of the wait for the next attempt.
    #[track_caller]
    pub(crate) fn wait(&self) -> Duration {
        match self.core.state() {
            State::Waiting { until } | State::Offline { until } | State::Late { until } => {
                until - self.now
            }
            state @ (State::Loading
            | State::Unregistered
            | State::Dialing { .. }
            | State::Connected
            | State::Closed
            | _) => panic!("not waiting but {state:?}"),
        }
    }

    /// What an input that has to be ignored must not change.
    pub(crate) fn snapshot(&self) -> (State, Option<Time>, Option<String>) {
        let token = self.core.token().map(|issued| issued.token.expose().to_owned());
        (self.core.state(), self.core.poll_timeout(), token)
    }
}

/// A machine in each state, and the outputs when this end closes its link with `code`.
pub(crate) fn each_state(code: CloseCode) -> [(Machine, Vec<Output>); 7] {
    [
        (Machine::unregistered(), vec![]),
        (Machine::backing_off(), vec![]),
        (Machine::rejected(), vec![]),
        (Machine::turned_away(), vec![]),
        (Machine::late(), vec![]),
        (Machine::dialing(), cancelled(code).into()),
        (Machine::connected(), vec![disconnect(1, code), lost(LostReason::Local)]),
    ]
}

fn decode(header: &str) -> Proof {
    let request = AuthRequest::from_header(header.as_bytes(), Dialect::Bincode, MAX_HEADER_CHARS);
    let request = request.unwrap();
    assert_eq!(request.device_id, device_id());
    request.proof
}
