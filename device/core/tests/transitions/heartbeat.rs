use std::time::Duration;

use fedecks_device_core::{Attempt, LostReason, State};
use fedecks_protocol::{CloseCode, DownFrame, Welcome};

use crate::machine::*;

#[test]
fn a_silent_connection_is_pinged_after_the_interval() {
    let mut it = Machine::connected();
    assert_eq!(it.keep_next_deadline(), secs(19));
    it.expect([ping(1)]);
}

#[test]
fn the_device_pings_while_the_cloud_talks_and_it_does_not() {
    let mut it = Machine::connected();
    for _ in 0..3 {
        it.run_for(secs(7));
        it.frame(1, &DownFrame::Raw { sequence: None, bytes: vec![] });
        it.run_for(secs(7));
        it.core.handle_traffic(it.now, Attempt(1));
        assert_eq!(it.drain().len(), 1);
        it.run_for(Duration::from_millis(4_999));
        it.expect([]);
        it.run_for(Duration::from_millis(1));
        it.expect([ping(1)]);
        it.core.handle_traffic(it.now, Attempt(1));
    }
}

#[test]
fn the_device_pings_while_it_talks_and_the_cloud_does_not() {
    let mut it = Machine::connected();
    for _ in 0..18 {
        it.run_for(secs(1));
        it.send(&message("hello")).unwrap();
        it.expect([transmit(1, &message("hello"))]);
    }
    it.run_for(secs(1));
    it.expect([ping(1)]);
}

#[test]
fn traffic_both_ways_puts_the_ping_off() {
    let mut it = Machine::connected();
    for _ in 0..100 {
        it.run_for(secs(10));
        it.send(&message("hello")).unwrap();
        it.core.handle_text(it.now, Attempt(1), 1);
        assert_eq!(it.drain().len(), 2);
    }
    it.run_for(Duration::from_millis(18_999));
    it.expect([]);
    it.run_for(Duration::from_millis(1));
    it.expect([ping(1)]);
}

#[test]
fn no_answer_to_a_ping_ends_the_connection() {
    let mut it = Machine::connected();
    it.keep_next_deadline();
    it.expect([ping(1)]);
    assert_eq!(it.keep_next_deadline(), secs(10));
    it.expect_wait([disconnect(1, CloseCode::GoingAway), lost(LostReason::NoPong)], FIRST_BACKOFF);
    it.expect_dial_after_wait(2, by_token("stored"));
}

#[test]
fn anything_from_the_cloud_answers_a_ping() {
    let answers: [fn(&mut Machine); 4] = [
        |it| it.core.handle_traffic(it.now, Attempt(1)),
        |it| it.core.handle_text(it.now, Attempt(1), 4),
        |it| it.core.handle_message(it.now, Attempt(1), &[0x7f]),
        |it| it.frame(1, &DownFrame::Raw { sequence: None, bytes: vec![] }),
    ];
    for answer in answers {
        let mut it = Machine::connected();
        it.keep_next_deadline();
        it.pass(Duration::from_millis(9_999));
        answer(&mut it);
        it.drain();
        assert_eq!(it.keep_next_deadline(), Duration::from_millis(9_001));
        it.expect([ping(1)]);
        assert_eq!(it.core.state(), State::Connected);
    }
}

#[test]
fn sending_does_not_move_the_deadline_of_the_answer() {
    let mut it = Machine::connected();
    it.keep_next_deadline();
    it.expect([ping(1)]);
    for _ in 0..9 {
        it.run_for(secs(1));
        it.send(&message("hello")).unwrap();
        it.expect([transmit(1, &message("hello"))]);
    }
    assert_eq!(it.keep_next_deadline(), secs(1));
    it.expect_wait([disconnect(1, CloseCode::GoingAway), lost(LostReason::NoPong)], FIRST_BACKOFF);
}

#[test]
fn a_later_ping_does_not_move_the_deadline_of_the_answer() {
    let mut it = Machine::connected();
    it.keep_next_deadline();
    it.expect([ping(1)]);
    it.run_for(secs(8));
    it.core.handle_network(it.now, fedecks_device_core::Network::Changed);
    it.expect([ping(1)]);
    assert_eq!(it.keep_next_deadline(), secs(2));
    assert_eq!(it.drain()[..2], [disconnect(1, CloseCode::GoingAway), lost(LostReason::NoPong)]);
}

#[test]
fn the_welcome_sets_the_interval_within_bounds() {
    for (told, kept) in [(30, 30), (1, 1), (0, 1), (300, 300), (301, 300), (u64::MAX, 300)] {
        let heartbeat = secs(told);
        let mut it = Machine::connected_with(Welcome { heartbeat, ..welcome() });
        let mut took = Duration::ZERO;
        while it.core.state() == State::Connected && took < secs(301) {
            took += it.keep_next_deadline();
            if it.drain().contains(&ping(1)) {
                break;
            }
        }
        assert_eq!(took, secs(kept), "told {told}");
    }
}

#[test]
fn a_cloud_whose_idle_timeout_is_shorter_than_its_interval_is_no_reason_to_hang_up() {
    let mut it = Machine::connected_with(Welcome {
        heartbeat: secs(100),
        idle_timeout: secs(5),
        ..welcome()
    });
    it.run_for(secs(100));
    it.expect([ping(1)]);
    assert_eq!(it.core.state(), State::Connected);
}

#[test]
fn there_is_always_a_deadline_while_connected() {
    let mut it = Machine::connected();
    for _ in 0..1_000 {
        let took = it.keep_next_deadline();
        assert!(took <= secs(19), "{took:?}");
        it.core.handle_traffic(it.now, Attempt(1));
        it.drain();
    }
    assert_eq!(it.core.state(), State::Connected);
}

#[test]
fn the_round_trip_is_what_the_pong_took_whatever_came_before_it() {
    let mut it = Machine::connected();
    assert_eq!(it.core.round_trip(), None);
    it.core.handle_pong(it.now, Attempt(1));
    assert_eq!(it.core.round_trip(), None);

    it.keep_next_deadline();
    it.pass(Duration::from_millis(40));
    it.core.handle_traffic(it.now, Attempt(1));
    it.pass(Duration::from_millis(20));
    it.core.handle_pong(it.now, Attempt(0));
    assert_eq!(it.core.round_trip(), None);
    it.core.handle_pong(it.now, Attempt(1));
    assert_eq!(it.core.round_trip(), Some(Duration::from_millis(60)));

    it.broken(1);
    assert_eq!(it.core.round_trip(), Some(Duration::from_millis(60)));
}

#[test]
fn a_pong_is_a_sign_of_life() {
    let mut it = Machine::connected();
    it.keep_next_deadline();
    it.drain();
    it.core.handle_pong(it.now, Attempt(1));
    assert_eq!(it.keep_next_deadline(), secs(19));
    it.expect([ping(1)]);
    assert_eq!(it.core.state(), State::Connected);
}
