use std::time::Duration;

use fedecks_device_core::{Attempt, FailReason, LostReason, Network, Phase, State};
use fedecks_protocol::{CloseCode, Refusal};

use crate::machine::*;

const ALL: [Network; 3] = [Network::Up, Network::Changed, Network::Down];

/// A wait that a spread cannot be taken for.
fn in_a_long_back_off() -> Machine {
    let mut it = Machine::dialing();
    for attempt in 1.. {
        it.unreachable(attempt);
        if it.wait() > secs(60) {
            break;
        }
        it.keep_next_deadline();
    }
    it.drain();
    it
}

fn last_attempt(it: &mut Machine) -> u64 {
    it.now = it.now + it.wait();
    it.core.handle_timeout(it.now);
    it.drain();
    let State::Dialing { attempt } = it.core.state() else { panic!("not dialing") };
    attempt.0
}

#[test]
fn a_network_that_comes_back_ends_the_back_off() {
    for network in [Network::Up, Network::Changed] {
        let mut it = in_a_long_back_off();
        it.core.handle_network(it.now, network);
        it.expect_wait([], SPREAD);
    }
}

#[test]
fn a_network_that_keeps_coming_back_puts_nothing_off() {
    let mut it = in_a_long_back_off();
    it.core.handle_network(it.now, Network::Up);
    let State::Waiting { mut until } = it.core.state() else { panic!("not waiting") };
    let mut floods = 0;
    while let State::Waiting { until: now_until } = it.core.state() {
        assert!(now_until <= until);
        until = now_until;
        it.run_for(Duration::from_millis(1));
        it.core.handle_network(it.now, ALL[floods % 2]);
        floods += 1;
    }
    assert!(floods <= 101, "{floods}");
    assert!(matches!(it.core.state(), State::Dialing { .. }));
}

#[test]
fn a_network_that_is_gone_lengthens_the_back_off_to_the_longest() {
    let mut it = Machine::backing_off();
    let begun = it.now;
    it.core.handle_network(it.now, Network::Down);
    it.expect_wait([], LONGEST);
    assert!(matches!(it.core.state(), State::Offline { .. }));
    assert_eq!(it.core.failures(), 1);
    it.core.handle_network(it.now, Network::Down);
    it.expect([]);
    it.expect_dial_after_wait(2, by_token("stored"));
    assert!(LONGEST.contains(&(it.now - begun)));
}

#[test]
fn the_device_dials_on_while_the_network_is_said_to_be_gone() {
    let mut it = Machine::backing_off();
    it.core.handle_network(it.now, Network::Down);
    it.drain();
    for attempt in 2..20 {
        it.expect_dial_after_wait(attempt, by_token("stored"));
        it.unreachable(attempt);
        it.expect_wait([unreachable_failed()], LONGEST);
    }
    it.expect_dial_after_wait(20, by_token("stored"));
    it.welcomed(20);
    it.expect(connected());
}

#[test]
fn a_network_that_comes_and_goes_does_not_put_the_attempt_off_beyond_the_longest_back_off() {
    for period in [1, 50, 1_000, 60_000, 140_000] {
        let mut it = Machine::backing_off();
        let begun = it.now;
        while !it.drain().iter().any(|did| matches!(did, Did::Dial(2, _))) {
            assert_eq!(it.core.failures(), 1);
            it.core.handle_network(it.now, Network::Up);
            it.core.handle_network(it.now, Network::Down);
            it.run_for(Duration::from_millis(period));
            let took = it.now - begun;
            assert!(took <= secs(300) + Duration::from_millis(period), "{period}: {took:?}");
        }
    }
}

#[test]
fn a_wait_that_goes_with_the_clouds_word_is_left_as_it_is() {
    let ordered = || {
        let mut it = Machine::dialing();
        it.refused(1, Refusal::Unavailable, Some(100));
        it.drain();
        it
    };
    for make in [Machine::set_aside, ordered] {
        for network in ALL {
            let mut it = make();
            let wait = it.wait();
            it.core.handle_network(it.now, network);
            it.expect([]);
            assert_eq!(it.wait(), wait);
        }
    }
}

#[test]
fn a_change_during_an_attempt_shortens_its_phase_and_the_wait_after_it() {
    for network in [Network::Up, Network::Changed] {
        let mut it = in_a_long_back_off();
        let attempt = last_attempt(&mut it);
        it.core.handle_network(it.now, network);
        it.expect([]);
        assert_eq!(it.keep_next_deadline(), secs(3));
        it.expect_wait(
            [disconnect(attempt, CloseCode::GoingAway), timed_out(Phase::Resolve)],
            SPREAD,
        );
    }
}

#[test]
fn a_change_during_an_attempt_shortens_the_wait_however_the_attempt_fails() {
    let mut it = in_a_long_back_off();
    let attempt = last_attempt(&mut it);
    it.core.handle_network(it.now, Network::Changed);
    it.unreachable(attempt);
    it.expect_wait([unreachable_failed()], SPREAD);

    let mut it = in_a_long_back_off();
    let attempt = last_attempt(&mut it);
    it.core.handle_network(it.now, Network::Changed);
    it.broken(attempt);
    it.expect_wait([failed(FailReason::Lost(LostReason::Broken("reset".into())))], SPREAD);
}

#[test]
fn a_change_during_an_attempt_shortens_no_wait_that_the_cloud_orders() {
    let mut it = Machine::dialing();
    it.core.handle_network(it.now, Network::Changed);
    it.refused(1, Refusal::Blocked, None);
    it.expect_wait([refusal_failed(Refusal::Blocked)], LONGEST);

    let mut it = Machine::dialing();
    it.core.handle_network(it.now, Network::Changed);
    it.refused(1, Refusal::RateLimited, Some(50));
    it.expect_wait([refusal_failed(Refusal::RateLimited)], secs(50)..=secs(55));
}

#[test]
fn an_attempt_that_makes_progress_after_a_change_has_its_whole_deadlines() {
    let mut it = Machine::dialing();
    it.core.handle_network(it.now, Network::Changed);
    it.core.handle_phase(it.now, Attempt(1), Phase::Upgrade);
    it.core.handle_network(it.now, Network::Down);
    assert_eq!(it.keep_next_deadline(), secs(20));
}

#[test]
fn changes_during_an_attempt_never_lengthen_its_phase() {
    let mut it = Machine::dialing();
    for _ in 0..14 {
        it.run_for(secs(1));
        it.core.handle_network(it.now, Network::Down);
    }
    it.core.handle_network(it.now, Network::Changed);
    assert_eq!(it.keep_next_deadline(), secs(1));
}

#[test]
fn an_attempt_that_was_made_without_a_network_begins_anew_when_it_is_back() {
    for phase in [Phase::Resolve, Phase::Tcp] {
        let mut it = Machine::dialing();
        it.core.handle_phase(it.now, Attempt(1), phase);
        it.core.handle_network(it.now, Network::Down);
        it.run_for(secs(7));
        it.expect([]);
        it.core.handle_network(it.now, Network::Up);
        it.expect_wait([disconnect(1, CloseCode::GoingAway), failed(FailReason::GivenUp)], SPREAD);
        it.expect_dial_after_wait(2, by_token("stored"));
        assert_eq!(it.core.failures(), 0);
        // It is about the network, and that has not gone again.
        it.core.handle_network(it.now, Network::Up);
        it.expect([]);
    }
}

#[test]
fn an_attempt_that_has_heard_from_the_cloud_goes_on_when_the_network_is_back() {
    for phase in [Phase::Tls, Phase::Upgrade, Phase::Welcome] {
        let mut it = Machine::dialing();
        it.core.handle_phase(it.now, Attempt(1), phase);
        it.core.handle_network(it.now, Network::Down);
        it.core.handle_network(it.now, Network::Up);
        it.expect([]);
        assert_eq!(it.keep_next_deadline(), secs(3));
    }
}

#[test]
fn a_network_that_is_back_or_another_one_probes_a_connection_once() {
    for network in [Network::Up, Network::Changed] {
        let mut it = Machine::connected();
        it.core.handle_network(it.now, network);
        it.expect([ping(1)]);
        for again in ALL {
            it.core.handle_network(it.now, again);
        }
        it.expect([]);
        assert_eq!(it.core.state(), State::Connected);
        assert_eq!(it.keep_next_deadline(), secs(3));
    }
}

#[test]
fn a_network_that_is_gone_leaves_a_connection_alone_until_the_next_ping() {
    let mut it = Machine::connected();
    it.run_for(secs(5));
    it.core.handle_network(it.now, Network::Down);
    it.expect([]);
    assert_eq!(it.core.state(), State::Connected);
    assert_eq!(it.keep_next_deadline(), secs(14));
    it.expect([ping(1)]);
    assert_eq!(it.keep_next_deadline(), secs(10));
    it.expect_wait([disconnect(1, CloseCode::GoingAway), lost(LostReason::NoPong)], LONGEST);
    assert!(matches!(it.core.state(), State::Offline { .. }));
}

#[test]
fn a_network_that_is_back_shortens_the_time_for_a_ping_that_went_out_without_it() {
    let mut it = Machine::connected();
    it.core.handle_network(it.now, Network::Down);
    assert_eq!(it.keep_next_deadline(), secs(19));
    it.run_for(secs(2));
    it.core.handle_network(it.now, Network::Up);
    it.expect([ping(1), ping(1)]);
    assert_eq!(it.keep_next_deadline(), secs(3));
    it.expect_wait([disconnect(1, CloseCode::GoingAway), lost(LostReason::NoPong)], SPREAD);
}

#[test]
fn who_says_that_there_is_no_network_is_not_believed_once_there_is_a_connection() {
    let mut it = Machine::backing_off();
    it.core.handle_network(it.now, Network::Down);
    it.drain();
    it.expect_dial_after_wait(2, by_token("stored"));
    it.welcomed(2);
    it.expect(connected());
    it.broken(2);
    it.expect_wait([lost_by_reset()], Duration::ZERO..=secs(2));
    assert!(matches!(it.core.state(), State::Waiting { .. }));

    let mut it = Machine::connected();
    it.core.handle_network(it.now, Network::Down);
    it.run_for(secs(19));
    it.expect([ping(1)]);
    it.core.handle_traffic(it.now, Attempt(1));
    assert_eq!(it.core.network(), Some(Network::Down), "that may have come before");
    it.core.handle_pong(it.now, Attempt(1));
    assert_eq!(it.core.network(), None);
    it.broken(1);
    it.expect_wait([lost_by_reset()], FIRST_BACKOFF);
}

#[test]
fn a_connection_that_answers_the_probe_goes_on() {
    let mut it = Machine::connected();
    it.run_for(secs(5));
    it.core.handle_network(it.now, Network::Changed);
    it.pass(Duration::from_millis(2_999));
    it.core.handle_traffic(it.now, Attempt(1));
    it.expect([ping(1)]);
    it.run_for(secs(15));
    it.expect([]);
    it.core.handle_network(it.now, Network::Changed);
    it.expect([ping(1)]);
}

#[test]
fn a_connection_that_does_not_answer_the_probe_is_replaced_at_once() {
    let mut it = Machine::connected();
    it.core.handle_network(it.now, Network::Changed);
    it.expect([ping(1)]);
    assert_eq!(it.keep_next_deadline(), secs(3));
    it.expect_wait([disconnect(1, CloseCode::GoingAway), lost(LostReason::NoPong)], SPREAD);
}

#[test]
fn a_flood_of_events_does_not_move_the_deadline_of_the_probe() {
    let mut it = Machine::connected();
    let begun = it.now;
    while it.core.state() == State::Connected {
        it.core.handle_network(it.now, Network::Up);
        it.core.handle_network(it.now, Network::Down);
        it.run_for(Duration::from_millis(10));
    }
    assert_eq!(it.now - begun, secs(3));
}

#[test]
fn without_a_token_the_network_means_nothing() {
    for network in ALL {
        let mut it = Machine::unregistered();
        it.core.handle_network(it.now, network);
        it.expect([]);
        assert_eq!(it.core.poll_timeout(), None);
    }
}

#[test]
fn a_login_dials_while_the_network_is_said_to_be_gone() {
    let mut it = Machine::unregistered();
    it.core.handle_network(it.now, Network::Down);
    it.login(1);
    it.expect(dial(1, by_login(1)));
}
