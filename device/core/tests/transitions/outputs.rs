//! Test values, and the outputs that are expected of the connection.

use crate::machine::*;

/// The id of every message, because only one is sent at a time.
pub(crate) const SEND: SendId = SendId(5);

/// An action of the connection. The header of a dial is decoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    Dial(u64, Proof),
    Other(Action),
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn device_id() -> DeviceId {
    DeviceId::new("device-123").unwrap()
}

pub(crate) fn token(text: &str) -> IssuedToken {
    IssuedToken { token: Token::new(text).unwrap(), expires_at: 2_000_000_000 }
}

/// The credentials of this login.
pub(crate) fn credentials(login: u64) -> Credentials {
    without_nonce(login).with("nonce", "of this login")
}

/// The same without a registration nonce.
pub(crate) fn without_nonce(login: u64) -> Credentials {
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
        delivery: None,
    }
}

pub(crate) fn message(text: &str) -> UpFrame {
    UpFrame::Message { sequence: None, term: Term::from(text) }
}

pub(crate) fn reset() -> LostReason {
    LostReason::Broken("reset".into())
}

pub(crate) fn emit(event: Event) -> Output {
    Output::Other(Action::Emit(event))
}

pub(crate) fn dial(attempt: u64, proof: Proof) -> [Output; 2] {
    [emit(Event::Connecting { attempt: Attempt(attempt) }), Output::Dial(attempt, proof)]
}

pub(crate) fn connected() -> [Output; 2] {
    let server_time_ms = welcome().server_time_ms;
    [Output::Other(Action::TrustTime { server_time_ms }), emit(Event::Connected)]
}

pub(crate) fn failed(reason: FailReason) -> Output {
    emit(Event::ConnectionFailed { reason })
}

pub(crate) fn refusal_failed(refusal: Refusal) -> Output {
    failed(FailReason::Refused(refusal))
}

pub(crate) fn unreachable_failed() -> Output {
    failed(FailReason::Unreachable { phase: Phase::Tcp, error: "no route".into() })
}

/// Attempt 1 is cancelled.
pub(crate) fn cancelled(code: CloseCode) -> [Output; 2] {
    [disconnect(1, code), failed(FailReason::GivenUp)]
}

pub(crate) fn timed_out(attempt: u64, phase: Phase) -> [Output; 2] {
    [disconnect(attempt, CloseCode::GoingAway), failed(FailReason::Timeout(phase))]
}

pub(crate) fn lost(reason: LostReason) -> Output {
    emit(Event::ConnectionLost { reason })
}

/// The link of attempt 1 is found dead.
pub(crate) fn aborted(reason: LostReason) -> [Output; 2] {
    [disconnect(1, CloseCode::GoingAway), lost(reason)]
}

pub(crate) fn disconnect(attempt: u64, code: CloseCode) -> Output {
    Output::Other(Action::Disconnect { attempt: Attempt(attempt), code })
}

pub(crate) fn ping(attempt: u64) -> Output {
    let attempt = Attempt(attempt);
    Output::Other(Action::Transmit { attempt, message: Outgoing::Ping, send: None })
}

pub(crate) fn transmit(attempt: u64, frame: &UpFrame) -> Output {
    let bytes = Dialect::Bincode.encode_up(frame, &Limits::default()).unwrap();
    // Only messages of the application are answered.
    let send = (*frame != UpFrame::TokenPlease).then_some(SEND);
    let message = Outgoing::Frame(bytes);
    Output::Other(Action::Transmit { attempt: Attempt(attempt), message, send })
}

pub(crate) fn load() -> Output {
    Output::Other(Action::LoadToken)
}

pub(crate) fn store(text: &str) -> Output {
    Output::Other(Action::StoreToken(token(text)))
}

pub(crate) fn forget() -> Output {
    Output::Other(Action::ForgetToken)
}

/// What a logout deletes if no command of the store is running.
pub(crate) fn forget_all() -> [Output; 2] {
    [forget_nonce(), forget()]
}

pub(crate) fn forget_nonce() -> Output {
    Output::Other(Action::ForgetNonce)
}

pub(crate) fn load_nonce(login: u64) -> Output {
    Output::Other(Action::LoadNonce { login: LoginId(login) })
}

pub(crate) fn store_failed() -> Output {
    emit(Event::StoreFailed { error: "read-only".into() })
}

pub(crate) fn answer(login: u64, result: Result<LoggedIn, LoginError>) -> Output {
    Output::Other(Action::AnswerLogin { login: LoginId(login), result })
}

pub(crate) fn logged_in(login: u64, persisted: bool) -> Output {
    answer(login, Ok(LoggedIn::new(persisted)))
}

pub(crate) fn rejected(login: u64, refusal: Refusal) -> Output {
    answer(login, Err(LoginError::Rejected(refusal)))
}

pub(crate) fn login_cancelled(login: u64, by: GiveUp) -> Output {
    answer(login, Err(LoginError::GivenUp(by)))
}

pub(crate) fn answer_logout(logout: u64, result: Result<(), String>) -> Output {
    Output::Other(Action::AnswerLogout { logout: LogoutId(logout), result })
}

pub(crate) fn log(notice: Notice) -> Output {
    Output::Other(Action::Log(notice))
}
