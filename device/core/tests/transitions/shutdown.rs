use crate::machine::*;

#[test]
fn a_shutdown_closes_the_link_in_any_state() {
    for (mut it, ended) in each_state(CloseCode::GoingAway) {
        it.core.handle_shutdown();
        it.expect(ended);
    }
}

#[test]
fn a_shutdown_cancels_a_login() {
    let mut it = Machine::logging_in();
    it.core.handle_shutdown();
    let wanted = [login_cancelled(1, GiveUp::Shutdown)].into_iter();
    it.expect(wanted.chain(cancelled(CloseCode::GoingAway)));

    let mut it = Machine::logged_in().after(|it| it.issued(1, "new"));
    it.core.handle_shutdown();
    let wanted = [login_cancelled(1, GiveUp::Shutdown)].into_iter();
    it.expect(wanted.chain(aborted(LostReason::Local)));
    it.stored();
    it.expect([]);
}

#[test]
fn every_input_after_the_shutdown_is_ignored() {
    let others = [Machine::new(), Machine::logging_in(), Machine::logged_in()];
    let states = each_state(CloseCode::GoingAway).map(|(it, _)| it);
    for mut it in states.into_iter().chain(others) {
        it.core.handle_shutdown();
        it.drain();
        it.core.handle_shutdown();
        it.logout(1);
        it.loaded(Ok(Some(token("late"))));
        it.loaded(Err("read-only".into()));
        it.stored();
        it.not_stored();
        for network in [Network::Down, Network::Up, Network::Changed] {
            it.network(network);
        }
        for attempt in 0..3 {
            it.phase(attempt, Phase::Tcp);
            it.welcomed(attempt);
            it.issued(attempt, "late");
            it.text(attempt, 1);
            it.traffic(attempt);
            it.unreachable(attempt);
            it.refused(attempt, Refusal::TokenRevoked, None);
            it.closed(attempt, CloseReason::new(CloseCode::Revoked));
            it.broken(attempt);
        }
        assert_eq!(it.send(&message("late")), Err(SendError::NotConnected));
        it.wake_after(secs(100_000));
        it.expect([]);
        assert_eq!(it.core.poll_timeout(), None);
        assert_eq!(it.core.state(), State::Closed);
    }
}

#[test]
fn a_login_after_the_shutdown_is_answered() {
    let mut it = Machine::shut_down();
    it.login(1);
    it.expect([login_cancelled(1, GiveUp::Shutdown)]);
}

#[test]
fn a_pending_command_reaches_the_store_after_the_shutdown() {
    let mut it = Machine::connected();
    it.issued(1, "new");
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
fn a_shutdown_retries_to_store_a_token_once_more() {
    let mut it = Machine::connected();
    it.issued(1, "new");
    it.expect([store("new")]);
    it.not_stored();
    it.drain();
    it.core.handle_shutdown();
    it.expect(aborted(LostReason::Local).into_iter().chain([store("new")]));
    it.not_stored();
    it.expect([]);
    assert_eq!(it.core.poll_timeout(), None);
}
