use crate::machine::*;

#[test]
fn a_reconnect_ends_any_state_and_dials_immediately() {
    for down in [false, true] {
        for (mut it, ended) in each_state(CloseCode::Normal).into_iter().skip(1) {
            if down {
                it.network(Network::Down).discard_outputs();
            }
            it.core.handle_reconnect(it.now).unwrap();
            it.expect(ended.into_iter().chain(dial(2, by_token("stored"))));
            assert_eq!(it.core.failures(), 0);
        }
    }
}

#[test]
fn a_reconnect_continues_a_waiting_login() {
    let mut it = Machine::logging_in().after(|it| it.unreachable(1));
    it.core.handle_reconnect(it.now).unwrap();
    it.expect(dial(2, by_login(1)));
}

#[test]
fn a_reconnect_without_a_token_or_after_shutdown_does_nothing() {
    for mut it in [Machine::unregistered(), Machine::shut_down()] {
        let state = it.core.state();
        assert!(matches!(state, State::Unregistered | State::Closed));
        assert_eq!(it.core.handle_reconnect(it.now), Err(NotRegistered));
        it.expect([]);
        assert_eq!(it.core.state(), state);
    }
}
