//! The clock includes the time in suspend: every deadline that passed meanwhile is due at once.

use crate::machine::*;

const LONG: Duration = Duration::from_secs(8 * 3_600);

fn suspended() -> [Output; 2] {
    aborted(LostReason::Suspended)
}

#[test]
fn a_connection_is_replaced_immediately_after_a_suspend() {
    for (mut it, proof) in [
        (Machine::connected(), by_token("stored")),
        (Machine::connected().after(Machine::keep_next_deadline), by_token("stored")),
        (Machine::logged_in(), by_login(1)),
    ] {
        it.wake_after(LONG).expect_wait(suspended(), SPREAD);
        it.expect_dial_after_wait(2, proof);
    }
}

#[test]
fn buffered_traffic_does_not_hide_a_suspend() {
    let mut it = Machine::connected();
    it.pass(LONG).traffic(1).give(Connection::handle_timeout).expect_wait(suspended(), SPREAD);
}

#[test]
fn a_message_after_a_suspend_is_given_back() {
    let mut it = Machine::connected();
    it.pass(LONG);
    assert_eq!(it.send(&message("hello")), Err(SendError::NotConnected));
    it.expect_wait(suspended(), SPREAD);
}

#[test]
fn a_network_event_on_wake_up_does_not_hide_a_suspend() {
    for network in [Network::Up, Network::Changed] {
        let mut it = Machine::connected();
        it.pass(LONG).network(network).keep_next_deadline();
        let outputs = it.drain();
        assert_eq!(outputs[..2], suspended());
        assert_eq!(outputs[outputs.len() - 2..], dial(2, by_token("stored")));
    }
}

#[test]
fn only_the_clouds_idle_timeout_makes_a_pause_a_suspend() {
    for idle_timeout in [secs(60), secs(600)] {
        let mut it = Machine::connected_with(Welcome { idle_timeout, ..welcome() });
        it.wake_after(idle_timeout).expect([ping(1)]);
        it.keep_deadline_in(secs(10));
        let mut it = Machine::connected_with(Welcome { idle_timeout, ..welcome() });
        it.wake_after(idle_timeout + millis(1)).expect_wait(suspended(), SPREAD);
    }
}

#[test]
fn an_attempt_times_out_in_a_suspend() {
    Machine::dialing().wake_after(LONG).expect_wait(timed_out(1, Phase::Resolve), FIRST_BACKOFF);
}

#[test]
fn a_wait_ends_in_a_suspend() {
    for mut it in [Machine::backing_off(), Machine::rejected()] {
        it.wake_after(LONG).expect(dial(2, by_token("stored")));
        it.expect_state(State::Dialing { attempt: Attempt(2) });
        assert_eq!(it.core.poll_timeout(), Some(it.now + secs(31)));
    }
}
