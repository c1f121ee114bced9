//! What the network changes about a connection.

use crate::machine::*;

#[test]
fn a_network_that_is_back_or_changed_probes_a_connection_once() {
    for network in [Network::Up, Network::Changed] {
        let mut it = Machine::connected();
        it.network(network).expect([ping(1)]);
        for again in [Network::Up, Network::Changed, Network::Down] {
            it.network(again);
        }
        it.expect([]).expect_state(State::Connected);
        it.keep_deadline_in(secs(3));
        // The network was reported down last, but a failed probe is always followed by a quick retry.
        it.expect_wait(aborted(LostReason::NoPong), SPREAD);
    }
}

#[test]
fn a_network_that_is_down_does_not_affect_a_connection() {
    let mut it = Machine::connected();
    it.run_for(secs(5)).network(Network::Down).expect([]).expect_state(State::Connected);
    it.keep_deadline_in(secs(14)).expect([ping(1)]);
    it.keep_deadline_in(secs(10)).expect_wait(aborted(LostReason::NoPong), MAX_BACKOFF);
    assert!(matches!(it.core.state(), State::Offline { .. }));
}

#[test]
fn a_network_that_is_back_shortens_an_earlier_pings_deadline() {
    let mut it = Machine::connected();
    it.network(Network::Down).keep_deadline_in(secs(19)).run_for(secs(2)).network(Network::Up);
    it.expect([ping(1), ping(1)]);
    it.keep_deadline_in(secs(3)).expect_wait(aborted(LostReason::NoPong), SPREAD);
}

#[test]
fn a_connection_refutes_that_the_network_is_down() {
    let mut it = Machine::backing_off().after(|it| it.network(Network::Down));
    it.expect_dial_after_wait(2, by_token("stored"));
    it.welcomed(2).expect(connected());
    it.broken(2).expect_wait([lost(reset())], Duration::ZERO..=secs(2));
    assert!(matches!(it.core.state(), State::Waiting { .. }));
}

#[test]
fn a_pong_refutes_that_the_network_is_down() {
    let mut it = Machine::connected();
    it.network(Network::Down).run_for(secs(19)).expect([ping(1)]);
    assert_eq!(it.traffic(1).core.network(), Some(Network::Down), "the traffic may be older");
    assert_eq!(it.pong(1).core.network(), None);
    it.broken(1).expect_wait([lost(reset())], FIRST_BACKOFF);
}

#[test]
fn a_connection_that_answers_the_probe_continues() {
    let mut it = Machine::connected();
    it.run_for(secs(5)).network(Network::Changed).pass(millis(2_999)).traffic(1).expect([ping(1)]);
    it.run_for(secs(15)).expect([]);
    it.network(Network::Changed).expect([ping(1)]);
}

#[test]
fn a_flapping_network_does_not_move_the_deadline_of_the_probe() {
    let mut it = Machine::connected();
    let start = it.now;
    while it.core.state() == State::Connected {
        it.network(Network::Up).network(Network::Down).run_for(millis(10));
    }
    assert_eq!(it.now - start, secs(3));
}
