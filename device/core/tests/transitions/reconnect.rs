use fedecks_device_core::{FailReason, LostReason, Network, NotRegistered, State};
use fedecks_protocol::{CloseCode, Refusal};

use crate::machine::*;

#[test]
fn a_connection_is_ended_and_made_again_at_once() {
    let mut it = Machine::connected();
    it.core.handle_reconnect(it.now).unwrap();
    let wanted = [disconnect(1, CloseCode::Normal), lost(LostReason::Local)];
    it.expect(wanted.into_iter().chain(dial(2, by_token("stored"))));
}

#[test]
fn an_attempt_is_given_up_for_a_new_one() {
    let mut it = Machine::dialing();
    it.core.handle_reconnect(it.now).unwrap();
    let wanted = [disconnect(1, CloseCode::Normal), failed(FailReason::GivenUp)];
    it.expect(wanted.into_iter().chain(dial(2, by_token("stored"))));
}

#[test]
fn a_wait_ends_even_if_the_cloud_asked_for_it_or_the_network_is_down() {
    let ordered = || {
        let mut it = Machine::dialing();
        it.refused(1, Refusal::Unavailable, Some(100));
        it
    };
    for make in [Machine::backing_off, Machine::set_aside, ordered] {
        let mut it = make();
        it.core.handle_network(it.now, Network::Down);
        it.drain();
        it.core.handle_reconnect(it.now).unwrap();
        it.expect(dial(2, by_token("stored")));
        assert_eq!(it.core.failures(), 0);
    }
}

#[test]
fn a_login_that_waits_goes_on_with_its_credentials() {
    let mut it = Machine::logging_in();
    it.unreachable(1);
    it.drain();
    it.core.handle_reconnect(it.now).unwrap();
    it.expect(dial(2, by_login(1)));
}

#[test]
fn without_a_token_or_after_the_end_nothing_happens() {
    let mut it = Machine::unregistered();
    assert_eq!(it.core.handle_reconnect(it.now), Err(NotRegistered));
    it.expect([]);
    assert_eq!(it.core.state(), State::Unregistered);

    let mut it = Machine::connected();
    it.core.handle_shutdown();
    it.drain();
    assert_eq!(it.core.handle_reconnect(it.now), Err(NotRegistered));
    it.expect([]);
    assert_eq!(it.core.state(), State::Closed);
}
