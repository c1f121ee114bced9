use fedecks_device_core::{Attempt, State, Stored};
use fedecks_protocol::{DownFrame, Refusal};

use crate::machine::*;

/// Keeps the connection alive for so many seconds; gives what it did in them, apart from pings.
fn seconds(it: &mut Machine, count: u64) -> Vec<Did> {
    for _ in 0..count {
        it.run_for(secs(1));
        it.core.handle_traffic(it.now, Attempt(1));
    }
    it.drain().into_iter().filter(|did| *did != ping(1)).collect()
}

#[test]
fn a_store_that_fails_is_tried_again_ever_more_seldom_until_it_works() {
    let mut it = Machine::connected();
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        it.not_stored();
        it.expect([store_failed()]);
        assert_eq!(seconds(&mut it, wait - 1), []);
        assert_eq!(seconds(&mut it, 1), [store("new")]);
    }
    it.stored();
    assert_eq!(seconds(&mut it, 120), []);
    assert_eq!(it.core.state(), State::Connected);
}

#[test]
fn a_store_that_worked_in_between_is_tried_again_soon() {
    let mut it = Machine::connected();
    for text in ["first", "second"] {
        it.frame(1, &DownFrame::Token(token(text)));
        it.not_stored();
        it.drain();
        assert_eq!(seconds(&mut it, 1), [store(text)]);
        it.stored();
    }
}

#[test]
fn a_store_that_fails_is_tried_again_while_there_is_no_connection() {
    let mut it = Machine::dialing();
    it.refused(1, Refusal::TokenRevoked, None);
    it.not_stored();
    it.drain();
    assert_eq!(it.keep_next_deadline(), secs(1));
    it.expect([forget()]);
    it.stored();
    it.expect([]);
    assert_eq!(it.core.poll_timeout(), None);
}

#[test]
fn the_store_has_one_order_at_a_time_and_then_the_newest() {
    let mut it = Machine::connected();
    for text in ["first", "second", "third", "fourth"] {
        it.frame(1, &DownFrame::Token(token(text)));
    }
    it.expect([store("first")]);
    assert_eq!(it.held_token(), Some("fourth"));
    it.stored();
    it.expect([store("fourth")]);
    it.stored();
    it.expect([]);
}

#[test]
fn a_failed_order_is_not_repeated_when_a_newer_one_waits() {
    let mut it = Machine::connected();
    it.frame(1, &DownFrame::Token(token("first")));
    it.frame(1, &DownFrame::Token(token("second")));
    it.expect([store("first")]);
    it.not_stored();
    it.expect([store_failed(), store("second")]);
    it.stored();
    assert_eq!(seconds(&mut it, 60), []);
}

#[test]
fn a_newer_token_does_not_wait_for_the_next_try() {
    let mut it = Machine::connected();
    it.frame(1, &DownFrame::Token(token("first")));
    it.not_stored();
    it.drain();
    it.frame(1, &DownFrame::Token(token("second")));
    it.expect([store("second")]);
}

#[test]
fn it_knows_whether_the_store_has_everything() {
    let mut it = Machine::logged_in();
    assert_eq!(it.core.stored(), Stored::Yes);
    it.frame(1, &DownFrame::Token(token("new")));
    assert_eq!(it.core.stored(), Stored::Pending);
    it.not_stored();
    assert_eq!(it.core.stored(), Stored::Failed);
    it.logout(1);
    assert_eq!(it.core.stored(), Stored::Pending);
    it.stored();
    assert_eq!(it.core.stored(), Stored::Yes);
}
