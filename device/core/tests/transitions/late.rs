//! A token that the cloud refuses as expired: how the device stays late, and how it gets out of it.

use crate::machine::*;

/// Attempt 2 with the late token.
fn dialing() -> Machine {
    Machine::late().after(Machine::keep_next_deadline)
}

#[test]
fn an_accepted_token_is_not_late_any_more() {
    let mut it = dialing();
    assert!(it.core.token_is_late());
    it.welcomed(2).expect(connected()).expect_state(State::Connected);
    assert!(!it.core.token_is_late());
    // The next time the application is notified again.
    it.broken(2).keep_next_deadline().discard_outputs();
    it.refused(3, Refusal::TokenExpired, None);
    let told = [refusal_failed(Refusal::TokenExpired), emit(Event::TokenLate)];
    it.expect_wait(told, MAX_BACKOFF);
}

#[test]
fn a_late_token_stays_late_until_the_cloud_accepts_it() {
    use Refusal::{Blocked, Malformed, TokenInvalid, WrongDevice};
    for refusal in [Blocked, Malformed, TokenInvalid, WrongDevice] {
        let mut it = dialing();
        it.refused(2, refusal, None);
        it.expect_wait([refusal_failed(refusal)], MAX_BACKOFF).expect_token(Some("stored"));
        assert!(it.core.token_is_late(), "{refusal:?}");
    }
    let mut it = dialing();
    it.unreachable(2).expect_wait([unreachable_failed()], secs(0)..=secs(2));
    assert!(it.core.token_is_late());
    it.keep_next_deadline().discard_outputs().refused(3, Refusal::Unavailable, Some(10));
    it.expect_wait([refusal_failed(Refusal::Unavailable)], secs(10)..=secs(15));
    assert!(it.core.token_is_late());
}

#[test]
fn no_network_report_shortens_the_wait_of_a_late_token() {
    for network in [Network::Up, Network::Changed, Network::Down] {
        let mut it = Machine::late();
        let state = it.core.state();
        it.network(network).expect([]).expect_state(state);
    }
}

#[test]
fn a_login_while_late_tries_the_credentials_first() {
    let mut it = Machine::late();
    it.login(1).expect(dial(2, by_login(1))).expect_token(Some("stored"));
    it.welcomed(2).expect(connected());
    // The connection says nothing about the old token, which is still the one on disk.
    assert!(it.core.token_is_late());
    it.issued(2, "new").expect([store("new")]).expect_token(Some("new"));
    assert!(!it.core.token_is_late());
    it.stored().expect([logged_in(1, true)]);
}

#[test]
fn a_late_token_outlives_a_rejected_login() {
    let mut it = Machine::late();
    it.login(1).expect(dial(2, by_login(1)));
    it.refused(2, Refusal::BadCredentials, None);
    let outputs = [rejected(1, Refusal::BadCredentials), refusal_failed(Refusal::BadCredentials)];
    it.expect_wait(outputs, SPREAD);
    it.expect_dial_after_wait(3, by_token("stored"));
    it.refused(3, Refusal::TokenExpired, None);
    it.expect_wait([refusal_failed(Refusal::TokenExpired)], MAX_BACKOFF);
}

#[test]
fn a_reboot_tries_a_late_token_again() {
    let mut it = Machine::new();
    it.loaded(Ok(Some(token("late")))).keep_next_deadline().discard_outputs();
    it.refused(1, Refusal::TokenExpired, None).expect_token(Some("late"));
    assert!(it.core.token_is_late());
    assert_eq!(it.core.stored(), Stored::Yes, "nothing is written");
}

#[test]
fn a_late_token_is_dropped_by_a_revocation_or_a_logout() {
    let mut it = dialing();
    it.refused(2, Refusal::TokenRevoked, None).expect_token(None);
    assert!(!it.core.token_is_late());
    let mut it = Machine::late();
    it.logout(1).expect([forget_nonce(), forget(), emit(Event::Unregistered)]);
    it.expect_token(None).expect_state(State::Unregistered);
    assert!(!it.core.token_is_late());
}

#[test]
fn a_login_refused_as_expired_is_not_about_the_token() {
    let mut it = Machine::rejected();
    it.login(1).discard_outputs();
    it.refused(2, Refusal::TokenExpired, None);
    assert!(!it.core.token_is_late());
    it.expect_token(Some("stored"));
}
