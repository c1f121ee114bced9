//! The clock goes on while the device is suspended; the deadlines that passed meanwhile are all
//! seen at once afterwards.

use std::time::Duration;

use fedecks_device_core::{Attempt, LostReason, Network, Phase, SendError, State};
use fedecks_protocol::{CloseCode, Welcome};

use crate::machine::*;

const LONG: Duration = Duration::from_secs(8 * 3_600);

fn slept() -> [Did; 2] {
    [disconnect(1, CloseCode::GoingAway), lost(LostReason::Slept)]
}

#[test]
fn a_connection_that_was_slept_through_is_replaced_at_once() {
    let mut it = Machine::connected();
    it.pass(LONG);
    it.core.handle_timeout(it.now);
    it.expect_wait(slept(), SPREAD);
    it.expect_dial_after_wait(2, by_token("stored"));
}

#[test]
fn it_is_so_with_a_ping_under_way_and_with_a_token_awaited() {
    let mut it = Machine::connected();
    it.keep_next_deadline();
    it.expect([ping(1)]);
    it.pass(LONG);
    it.core.handle_timeout(it.now);
    it.expect_wait(slept(), SPREAD);

    let mut it = Machine::logged_in();
    it.pass(LONG);
    it.core.handle_timeout(it.now);
    it.expect_wait(slept(), SPREAD);
    it.expect_dial_after_wait(2, by_login(1));
}

#[test]
fn what_lay_in_the_receive_buffer_does_not_hide_the_sleep() {
    let mut it = Machine::connected();
    it.pass(LONG);
    it.core.handle_traffic(it.now, Attempt(1));
    it.core.handle_timeout(it.now);
    it.expect_wait(slept(), SPREAD);
}

#[test]
fn a_message_into_a_connection_that_was_slept_through_is_given_back() {
    let mut it = Machine::connected();
    it.pass(LONG);
    assert_eq!(it.send(&message("hello")), Err(SendError::NotConnected));
    it.expect_wait(slept(), SPREAD);
}

#[test]
fn a_network_event_at_waking_up_does_not_hide_the_sleep() {
    for network in [Network::Up, Network::Changed] {
        let mut it = Machine::connected();
        it.pass(LONG);
        it.core.handle_network(it.now, network);
        it.keep_next_deadline();
        let did = it.drain();
        assert_eq!(did[..2], slept());
        assert_eq!(did[did.len() - 2..], dial(2, by_token("stored")));
    }
}

#[test]
fn a_nap_within_the_idle_timeout_is_no_sleep() {
    let mut it = Machine::connected();
    it.pass(secs(60));
    it.core.handle_timeout(it.now);
    it.expect([ping(1)]);
    assert_eq!(it.keep_next_deadline(), secs(10));
    let mut it = Machine::connected();
    it.pass(secs(60) + Duration::from_millis(1));
    it.core.handle_timeout(it.now);
    it.expect_wait(slept(), SPREAD);
}

#[test]
fn the_idle_timeout_is_the_clouds() {
    let mut it = Machine::connected_with(Welcome { idle_timeout: secs(600), ..welcome() });
    it.pass(secs(600));
    it.core.handle_timeout(it.now);
    it.expect([ping(1)]);
}

#[test]
fn an_attempt_that_was_slept_through_has_taken_too_long() {
    let mut it = Machine::dialing();
    it.pass(LONG);
    it.core.handle_timeout(it.now);
    it.expect_wait([disconnect(1, CloseCode::GoingAway), timed_out(Phase::Resolve)], FIRST_BACKOFF);
}

#[test]
fn a_wait_that_was_slept_through_is_over() {
    for mut it in [Machine::backing_off(), Machine::set_aside()] {
        it.pass(LONG);
        it.core.handle_timeout(it.now);
        it.expect(dial(2, by_token("stored")));
        assert_eq!(it.core.state(), State::Dialing { attempt: Attempt(2) });
        assert_eq!(it.core.poll_timeout(), Some(it.now + secs(15)));
    }
}
