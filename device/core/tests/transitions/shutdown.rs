use fedecks_device_core::{
    Attempt, FailReason, GiveUp, LoggedIn, LoginError, LostReason, Network, Phase, SendError, State,
};
use fedecks_protocol::{CloseCode, CloseReason, DownFrame, Refusal};

use crate::machine::*;

const FOR_THE_END: Result<LoggedIn, LoginError> = Err(LoginError::GivenUp(GiveUp::Shutdown));

#[test]
fn a_connection_is_closed() {
    let mut it = Machine::connected();
    it.core.handle_shutdown();
    it.expect([disconnect(1, CloseCode::GoingAway), lost(LostReason::Local)]);
}

#[test]
fn an_attempt_is_given_up() {
    let mut it = Machine::dialing();
    it.core.handle_shutdown();
    it.expect([disconnect(1, CloseCode::GoingAway), failed(FailReason::GivenUp)]);
}

#[test]
fn a_login_is_answered() {
    let mut it = Machine::logging_in();
    it.core.handle_shutdown();
    it.expect([
        answer(1, FOR_THE_END),
        disconnect(1, CloseCode::GoingAway),
        failed(FailReason::GivenUp),
    ]);

    let mut it = Machine::logged_in();
    it.frame(1, &DownFrame::Token(token("new")));
    it.drain();
    it.core.handle_shutdown();
    it.expect([
        answer(1, FOR_THE_END),
        disconnect(1, CloseCode::GoingAway),
        lost(LostReason::Local),
    ]);
    it.stored();
    it.expect([]);
}

#[test]
fn where_there_is_no_link_there_is_nothing_to_do() {
    for make in [Machine::unregistered, Machine::backing_off, Machine::set_aside] {
        let mut it = make();
        it.core.handle_shutdown();
        it.expect([]);
    }
}

#[test]
fn nothing_happens_after() {
    let makers = [
        Machine::new,
        Machine::unregistered,
        Machine::dialing,
        Machine::logging_in,
        Machine::logged_in,
        Machine::connected,
        Machine::backing_off,
        Machine::set_aside,
    ];
    for make in makers {
        let mut it = make();
        it.core.handle_shutdown();
        it.drain();
        it.core.handle_shutdown();
        it.logout(1);
        it.core.handle_loaded(it.now, Ok(Some(token("late"))));
        it.core.handle_loaded(it.now, Err("read-only".into()));
        it.stored();
        it.not_stored();
        for network in [Network::Down, Network::Up, Network::Changed] {
            it.core.handle_network(it.now, network);
        }
        for attempt in 0..3 {
            it.core.handle_phase(it.now, Attempt(attempt), Phase::Tcp);
            it.welcomed(attempt);
            it.frame(attempt, &DownFrame::Token(token("late")));
            it.core.handle_text(it.now, Attempt(attempt), 1);
            it.core.handle_traffic(it.now, Attempt(attempt));
            it.unreachable(attempt);
            it.refused(attempt, Refusal::TokenRevoked, None);
            it.closed(attempt, CloseReason::new(CloseCode::Revoked));
            it.broken(attempt);
        }
        assert_eq!(it.send(&message("late")), Err(SendError::NotConnected));
        it.pass(secs(100_000));
        it.core.handle_timeout(it.now);
        it.expect([]);
        assert_eq!(it.core.poll_timeout(), None);
        assert_eq!(it.core.state(), State::Closed);
    }
}

#[test]
fn a_login_after_the_end_is_answered() {
    let mut it = Machine::connected();
    it.core.handle_shutdown();
    it.drain();
    it.login(1);
    it.expect([answer(1, FOR_THE_END)]);
}

#[test]
fn an_order_that_waits_for_the_store_still_reaches_it() {
    let mut it = Machine::connected();
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    it.logout(1);
    it.core.handle_shutdown();
    it.drain();
    it.not_stored();
    it.expect([forget()]);
    it.not_stored();
    it.expect([answer_logout(1, Err("read-only".into()))]);
    assert_eq!(it.core.poll_timeout(), None);
}

#[test]
fn a_token_that_could_not_be_stored_is_given_to_the_store_once_more() {
    let mut it = Machine::connected();
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    it.not_stored();
    it.drain();
    it.core.handle_shutdown();
    it.expect([disconnect(1, CloseCode::GoingAway), lost(LostReason::Local), store("new")]);
    it.not_stored();
    it.expect([]);
    assert_eq!(it.core.poll_timeout(), None);
}
