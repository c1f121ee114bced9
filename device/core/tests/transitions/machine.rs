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
        let core = Connection::new(Config::new(device_id()), seed);
        Self { core, now: Time::new(secs(1_000)), taken: Vec::new() }
    }

    /// There is no token, and loading is not retried.
    pub(crate) fn unregistered() -> Self {
        Self::new().after(|it| {
            it.logout(1);
            it.stored();
        })
    }

    /// Between loading the token "stored" and the first attempt.
    pub(crate) fn about_to_dial(seed: u64) -> Self {
        Self::with_seed(seed).after(|it| it.loaded(Ok(Some(token("stored")))))
    }

    /// Attempt 1 is in progress with the token "stored".
    pub(crate) fn dialing() -> Self {
        Self::about_to_dial(7).after(|it| {
            it.keep_next_deadline();
        })
    }

    /// Attempt 1 could not reach the cloud: the backoff runs.
    pub(crate) fn backing_off() -> Self {
        Self::dialing().after(|it| it.unreachable(1))
    }

    /// Attempt 1 was rejected: the maximum backoff runs.
    pub(crate) fn rejected() -> Self {
        Self::dialing().after(|it| it.refused(1, Refusal::TokenInvalid, None))
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
        Self::dialing().after(|it| {
            it.dialed(1, Ok(()));
            it.frame(1, &DownFrame::Welcome(welcome));
        })
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
        Self::connected().after(|it| it.core.handle_shutdown())
    }

    /// Gives inputs and discards the outputs.
    pub(crate) fn after(mut self, inputs: impl FnOnce(&mut Self)) -> Self {
        inputs(&mut self);
        self.drain();
        self
    }

    /// Lets time pass without keeping deadlines.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets time pass without keeping deadlines, then keeps all that are due.
    pub(crate) fn wake_after(&mut self, time: Duration) {
        self.pass(time);
        self.core.handle_timeout(self.now);
    }

    /// Lets time pass and keeps every deadline.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.core.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// Goes to the earliest deadline and keeps it. Returns how long that took.
    pub(crate) fn keep_next_deadline(&mut self) -> Duration {
        let took = self.core.poll_timeout().expect("a deadline") - self.now;
        self.wake_after(took);
        took
    }

    pub(crate) fn loaded(&mut self, result: Result<Option<IssuedToken>, String>) {
        self.core.handle_loaded(self.now, result);
    }

    pub(crate) fn stored(&mut self) {
        self.core.handle_stored(self.now, Ok(()));
    }

    pub(crate) fn not_stored(&mut self) {
        self.core.handle_stored(self.now, Err("read-only".into()));
    }

    pub(crate) fn login(&mut self, id: u64) {
        self.core.handle_login(self.now, LoginId(id), credentials(id));
    }

    pub(crate) fn logout(&mut self, id: u64) {
        self.core.handle_logout(LogoutId(id));
    }

    pub(crate) fn network(&mut self, network: Network) {
        self.core.handle_network(self.now, network);
    }

    /// Sends over a link that accepts everything. Returns the answer.
    pub(crate) fn send(&mut self, frame: &UpFrame) -> Result<(), SendError> {
        self.send_over(true, frame)
    }

    /// Sends over a link that is alive or found dead. Returns the answer.
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
            self.taken.push(action);
        }
    }

    pub(crate) fn phase(&mut self, attempt: u64, phase: Phase) {
        self.core.handle_phase(self.now, Attempt(attempt), phase);
    }

    pub(crate) fn dialed(&mut self, attempt: u64, result: Result<(), DialError>) {
        self.core.handle_dialed(self.now, Attempt(attempt), result);
    }

    pub(crate) fn welcomed(&mut self, attempt: u64) {
        self.dialed(attempt, Ok(()));
        self.frame(attempt, &DownFrame::Welcome(welcome()));
    }

    pub(crate) fn refused(&mut self, attempt: u64, refusal: Refusal, retry_after: Option<u64>) {
        let retry_after = retry_after.map(secs);
        self.dialed(attempt, Err(DialError::Refused { refusal, retry_after }));
    }

    pub(crate) fn unreachable(&mut self, attempt: u64) {
        self.dialed(attempt, Err(DialError::Unreachable("no route".into())));
    }

    pub(crate) fn frame(&mut self, attempt: u64, frame: &DownFrame) {
        let bytes = Dialect::Bincode.encode_down(frame, &Limits::default()).unwrap();
        self.bytes(attempt, &bytes);
    }

    pub(crate) fn issued(&mut self, attempt: u64, text: &str) {
        self.frame(attempt, &DownFrame::Token(token(text)));
    }

    pub(crate) fn bytes(&mut self, attempt: u64, bytes: &[u8]) {
        self.core.handle_message(self.now, Attempt(attempt), bytes);
    }

    pub(crate) fn text(&mut self, attempt: u64, size: usize) {
        self.core.handle_text(self.now, Attempt(attempt), size);
    }

    pub(crate) fn traffic(&mut self, attempt: u64) {
        self.core.handle_traffic(self.now, Attempt(attempt));
    }

    pub(crate) fn pong(&mut self, attempt: u64) {
        self.core.handle_pong(self.now, Attempt(attempt));
    }

    pub(crate) fn lost(&mut self, attempt: u64, reason: LostReason) {
        self.core.handle_lost(self.now, Attempt(attempt), reason);
    }

    pub(crate) fn closed(&mut self, attempt: u64, close: CloseReason) {
        self.lost(attempt, LostReason::Closed(close));
    }

    pub(crate) fn broken(&mut self, attempt: u64) {
        self.lost(attempt, reset());
    }

    /// Takes all outputs.
    pub(crate) fn drain(&mut self) -> Vec<Output> {
        let taken = std::mem::take(&mut self.taken);
        let actions = taken.into_iter().chain(std::iter::from_fn(|| self.core.poll_action()));
        let output = |action| {
            if let Action::Dial { attempt, header } = action {
                Output::Dial(attempt.0, decode(header.expose()))
            } else {
                Output::Other(action)
            }
        };
        actions.map(output).collect()
    }

    /// The outputs are exactly these.
    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: impl IntoIterator<Item = Output>) {
        let wanted: Vec<Output> = wanted.into_iter().collect();
        assert_eq!(self.drain(), wanted);
    }

    /// The outputs are exactly these and the announcement of a delay in `range`, which is the
    /// earliest deadline.
    #[track_caller]
    pub(crate) fn expect_wait(
        &mut self,
        wanted: impl IntoIterator<Item = Output>,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let delay = self.wait();
        self.expect(wanted.into_iter().chain([emit(Event::ConnectionScheduled { delay })]));
        assert!(range.contains(&delay), "{delay:?} is not in {range:?}");
        delay
    }

    /// The wait ends and the attempt starts with this proof.
    #[track_caller]
    pub(crate) fn expect_dial_after_wait(&mut self, attempt: u64, proof: Proof) {
        self.wake_after(self.wait());
        self.expect(dial(attempt, proof));
    }

    /// The rest of the wait for the next attempt.
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

    /// What an input that has to be ignored must not change.
    pub(crate) fn snapshot(&self) -> (State, Option<Time>, Option<String>) {
        let token = self.held_token().map(str::to_owned);
        (self.core.state(), self.core.poll_timeout(), token)
    }

    pub(crate) fn held_token(&self) -> Option<&str> {
        self.core.token().map(|issued| issued.token.expose())
    }
}

/// A machine in each state, and the outputs when this end closes its link with `code`.
pub(crate) fn each_state(code: CloseCode) -> [(Machine, Vec<Output>); 6] {
    [
        (Machine::unregistered(), vec![]),
        (Machine::backing_off(), vec![]),
        (Machine::rejected(), vec![]),
        (Machine::turned_away(), vec![]),
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
