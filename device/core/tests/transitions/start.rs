use fedecks_device_core::{Attempt, Event, LoggedIn, State};
use fedecks_protocol::{DownFrame, Refusal};

use crate::machine::*;

#[test]
fn the_first_thing_is_to_ask_the_store() {
    let mut it = Machine::new();
    it.expect([load()]);
    assert_eq!(it.core.poll_timeout(), None);
    assert_eq!(it.core.state(), State::Unregistered);
}

#[test]
fn a_stored_token_is_dialled_with_after_a_small_spread() {
    let mut it = Machine::new();
    it.drain();
    it.core.handle_loaded(it.now, Ok(Some(token("stored"))));
    it.expect_wait([], SPREAD);
    assert_eq!(it.held_token(), Some("stored"));
    it.expect_dial_after_wait(1, by_token("stored"));
}

#[test]
fn the_spread_uses_its_whole_range() {
    let waits: Vec<_> = (0..200).map(|seed| Machine::about_to_dial(seed).wait()).collect();
    assert!(waits.iter().all(|wait| SPREAD.contains(wait)));
    assert!(waits.iter().any(|wait| wait.as_millis() > 90));
    assert!(waits.iter().any(|wait| wait.as_millis() < 10));
}

#[test]
fn without_a_token_the_device_is_unregistered_and_says_so_once() {
    let mut it = Machine::new();
    it.drain();
    it.core.handle_loaded(it.now, Ok(None));
    it.expect([emit(Event::Unregistered)]);
    for wait in [5, 10, 20, 40, 60, 60, 60] {
        assert_eq!(it.keep_next_deadline(), secs(wait));
        it.expect([load()]);
        it.core.handle_loaded(it.now, Ok(None));
        it.expect([]);
    }
}

#[test]
fn a_store_that_is_mounted_late_is_looked_at_again() {
    let mut it = Machine::new();
    it.drain();
    it.core.handle_loaded(it.now, Err("read-only".into()));
    it.expect([store_failed(), emit(Event::Unregistered)]);
    it.keep_next_deadline();
    it.expect([load()]);
    it.core.handle_loaded(it.now, Err("read-only".into()));
    it.expect([store_failed()]);
    it.keep_next_deadline();
    it.expect([load()]);
    it.core.handle_loaded(it.now, Ok(Some(token("stored"))));
    it.expect_wait([], SPREAD);
    it.expect_dial_after_wait(1, by_token("stored"));
}

#[test]
fn a_token_found_during_a_login_is_there_if_the_login_fails() {
    let mut it = Machine::new();
    it.login(1);
    it.drain();
    it.core.handle_loaded(it.now, Ok(Some(token("stored"))));
    it.expect([]);
    it.refused(1, Refusal::BadCredentials, None);
    it.drain();
    it.expect_dial_after_wait(2, by_token("stored"));
}

#[test]
fn the_store_is_not_asked_any_more_once_there_is_a_token() {
    let mut it = Machine::new();
    it.core.handle_loaded(it.now, Ok(None));
    it.login(1);
    it.welcomed(1);
    it.frame(1, &DownFrame::Token(token("new")));
    it.stored();
    it.drain();
    it.core.handle_loaded(it.now, Ok(Some(token("older"))));
    it.expect([]);
    assert_eq!(it.held_token(), Some("new"));
    for _ in 0..20 {
        it.keep_next_deadline();
        it.core.handle_traffic(it.now, Attempt(1));
        assert!(!it.drain().contains(&load()));
    }
}

#[test]
fn a_device_with_a_token_never_says_that_it_is_unregistered() {
    let mut it = Machine::new();
    it.drain();
    it.login(1);
    it.welcomed(1);
    it.frame(1, &DownFrame::Token(token("new")));
    it.stored();
    let mut wanted = Vec::from(dial(1, by_login(1)));
    wanted.extend(connected());
    wanted.push(store("new"));
    wanted.push(answer(1, Ok(LoggedIn { persisted: true })));
    it.expect(wanted);
    it.core.handle_loaded(it.now, Ok(None));
    it.expect([]);
}
