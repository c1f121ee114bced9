use std::time::Duration;

use fedecks_device_core::{Event, FailReason, LostReason};
use fedecks_protocol::{CloseCode, CloseReason};

use crate::machine::*;

const WITHOUT_MEANING: [CloseCode; 8] = [
    CloseCode::Normal,
    CloseCode::GoingAway,
    CloseCode::ProtocolError,
    CloseCode::TooBig,
    CloseCode::InternalError,
    CloseCode::Restart,
    CloseCode::Overloaded,
    CloseCode::Other(4999),
];

#[test]
fn an_ordinary_close_is_followed_by_a_back_off() {
    for code in WITHOUT_MEANING {
        let mut it = Machine::connected();
        it.closed(1, CloseReason::new(code));
        it.expect_wait([closed(CloseReason::new(code))], FIRST_BACKOFF);
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn a_broken_link_is_followed_by_a_back_off() {
    let mut it = Machine::connected();
    it.broken(1);
    it.expect_wait([lost_by_reset()], FIRST_BACKOFF);
}

#[test]
fn a_cloud_that_goes_away_for_a_while_is_left_alone_for_as_long() {
    for code in [CloseCode::Restart, CloseCode::Overloaded] {
        let mut it = Machine::connected();
        let close = CloseReason::retry_after(code, secs(40));
        it.closed(1, close);
        it.expect_wait([closed(close)], secs(40)..=secs(44));
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn no_delay_beyond_an_hour_is_kept() {
    let mut it = Machine::connected();
    let close = CloseReason::retry_after(CloseCode::Restart, Duration::MAX);
    it.closed(1, close);
    it.expect_wait([closed(close)], secs(3_600)..=secs(3_960));
}

#[test]
fn other_codes_ask_for_no_delay() {
    let mut it = Machine::connected();
    let close = CloseReason::retry_after(CloseCode::GoingAway, secs(1_000));
    it.closed(1, close);
    it.expect_wait([closed(close)], FIRST_BACKOFF);
}

#[test]
fn policy_and_block_keep_the_token_and_wait_the_longest_back_off() {
    for code in [CloseCode::Policy, CloseCode::Blocked] {
        let mut it = Machine::connected();
        it.closed(1, CloseReason::new(code));
        it.expect_wait([closed(CloseReason::new(code))], LONGEST);
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn a_replaced_device_says_so_and_waits_the_longest_back_off() {
    let mut it = Machine::connected();
    let close = CloseReason::new(CloseCode::Replaced);
    it.closed(1, close);
    it.expect_wait([closed(close), emit(Event::Replaced)], LONGEST);
    it.expect_dial_after_wait(2, by_token("stored"));
}

#[test]
fn a_revoked_device_forgets_its_token_and_is_unregistered() {
    let mut it = Machine::connected();
    let close = CloseReason::new(CloseCode::Revoked);
    it.closed(1, close);
    it.expect([forget(), closed(close), emit(Event::Unregistered)]);
    assert_eq!(it.held_token(), None);
    assert_eq!(it.core.poll_timeout(), None);
}

#[test]
fn a_close_before_the_welcome_means_the_same() {
    let replaced = CloseReason::new(CloseCode::Replaced);
    let mut it = Machine::dialing();
    it.closed(1, replaced);
    it.expect_wait([failed_by(replaced), emit(Event::Replaced)], LONGEST);

    let restart = CloseReason::retry_after(CloseCode::Restart, secs(40));
    let mut it = Machine::dialing();
    it.closed(1, restart);
    it.expect_wait([failed_by(restart)], secs(40)..=secs(44));

    let revoked = CloseReason::new(CloseCode::Revoked);
    let mut it = Machine::dialing();
    it.closed(1, revoked);
    it.expect([forget(), failed_by(revoked), emit(Event::Unregistered)]);
}

fn closed(close: CloseReason) -> Did {
    lost(LostReason::Closed(close))
}

fn failed_by(close: CloseReason) -> Did {
    failed(FailReason::Lost(LostReason::Closed(close)))
}
