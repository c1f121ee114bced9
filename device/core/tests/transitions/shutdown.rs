use crate::machine::*;

#[test]
fn a_shutdown_closes_the_link_in_any_state() {
    for (mut it, ended) in each_state(CloseCode::GoingAway) {
        it.shutdown().expect(ended);
    }
}

#[test]
fn a_shutdown_cancels_a_login() {
    let being_stored = Machine::logged_in().after(|it| it.issued(1, "new"));
    for (mut it, ended) in [
        (Machine::logging_in(), cancelled(CloseCode::GoingAway)),
        (being_stored, aborted(LostReason::Local)),
    ] {
        let answer = [login_cancelled(1, GiveUp::Shutdown)];
        it.shutdown().expect(answer.into_iter().chain(ended));
        it.stored().expect([]);
    }
}

#[test]
fn every_input_after_the_shutdown_is_ignored_or_refused() {
    let others = [Machine::new(), Machine::logging_in(), Machine::logged_in()];
    let states = each_state(CloseCode::GoingAway).map(|(it, _)| it);
    for mut it in states.into_iter().chain(others) {
        it.shutdown().discard_outputs();
        it.shutdown().logout(1).loaded(Ok(Some(token("late")))).loaded(Err("read-only".into()));
        it.stored().not_stored();
        for network in [Network::Down, Network::Up, Network::Changed] {
            it.network(network);
        }
        for attempt in 0..3 {
            it.phase(attempt, Phase::Tcp).welcomed(attempt).issued(attempt, "late");
            it.text(attempt, 1).traffic(attempt).unreachable(attempt);
            it.refused(attempt, Refusal::TokenRevoked, None);
            it.closed(attempt, CloseReason::new(CloseCode::Revoked)).broken(attempt);
        }
        it.login(1).expect([login_cancelled(1, GiveUp::Shutdown)]);
        assert_eq!(it.send(&message("late")), Err(SendError::NotConnected));
        it.wake_after(secs(100_000)).expect([]).expect_no_deadline().expect_state(State::Closed);
    }
}

#[test]
fn a_pending_command_reaches_the_store_after_the_shutdown() {
    let mut it = Machine::connected();
    it.issued(1, "new").expect([store("new")]);
    it.logout(1).shutdown().discard_outputs().not_stored().expect([forget()]);
    it.not_stored().expect([answer_logout(1, Err("read-only".into()))]).expect_no_deadline();
}

#[test]
fn a_shutdown_retries_to_store_a_token_once_more() {
    let mut it = Machine::connected();
    it.issued(1, "new").expect([store("new")]);
    it.not_stored().discard_outputs();
    it.shutdown().expect(aborted(LostReason::Local).into_iter().chain([store("new")]));
    it.not_stored().expect([]).expect_no_deadline();
}
