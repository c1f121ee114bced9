//! What the network changes about a wait or an attempt.

use crate::machine::*;

const ALL: [Network; 3] = [Network::Up, Network::Changed, Network::Down];

/// A backoff that is much longer than a spread.
fn in_a_long_backoff() -> Machine {
    let mut it = Machine::backing_off();
    for attempt in 2.. {
        if it.wait() > secs(60) {
            break;
        }
        it.keep_next_deadline().unreachable(attempt).discard_outputs();
    }
    it
}

/// The attempt after a long backoff.
fn dialing_after_a_long_backoff() -> (Machine, u64) {
    let it = in_a_long_backoff().after(|it| it.wake_after(it.wait()));
    let State::Dialing { attempt } = it.core.state() else { panic!("not dialing") };
    (it, attempt.0)
}

#[test]
fn a_network_that_comes_back_ends_the_backoff() {
    for network in [Network::Up, Network::Changed] {
        let mut it = in_a_long_backoff();
        it.network(network).expect_wait([], SPREAD);
    }
}

#[test]
fn a_network_that_keeps_coming_back_postpones_no_attempt() {
    let mut it = in_a_long_backoff();
    it.network(Network::Up);
    let State::Waiting { mut until } = it.core.state() else { panic!("not waiting") };
    let mut events = 0;
    while let State::Waiting { until: now_until } = it.core.state() {
        assert!(now_until <= until);
        until = now_until;
        it.run_for(millis(1)).network(ALL[events % 2]);
        events += 1;
    }
    assert!(events <= 101, "{events}");
    assert!(matches!(it.core.state(), State::Dialing { .. }));
}

#[test]
fn a_network_that_is_down_extends_the_backoff_to_the_maximum() {
    let mut it = Machine::backing_off();
    let start = it.now;
    it.network(Network::Down).expect_wait([], MAX_BACKOFF);
    assert!(matches!(it.core.state(), State::Offline { .. }));
    assert_eq!(it.core.failures(), 1);
    it.network(Network::Down).expect([]);
    it.expect_dial_after_wait(2, by_token("stored"));
    assert!(MAX_BACKOFF.contains(&(it.now - start)));
}

#[test]
fn a_device_keeps_dialing_while_the_network_is_reported_down() {
    let mut it = Machine::backing_off().after(|it| it.network(Network::Down));
    for attempt in 2..20 {
        it.expect_dial_after_wait(attempt, by_token("stored"));
        it.unreachable(attempt).expect_wait([unreachable_failed()], MAX_BACKOFF);
    }
    it.expect_dial_after_wait(20, by_token("stored"));
    it.welcomed(20).expect(connected());
}

#[test]
fn a_flapping_network_postpones_no_attempt_beyond_the_maximum() {
    for period in [1, 50, 1_000, 60_000, 140_000].map(millis) {
        let mut it = Machine::backing_off();
        let start = it.now;
        while !it.drain().iter().any(|output| matches!(output, Output::Dial(2, _))) {
            assert_eq!(it.core.failures(), 1);
            it.network(Network::Up).network(Network::Down).run_for(period);
            let took = it.now - start;
            assert!(took <= secs(300) + period, "{period:?}: {took:?}");
        }
    }
}

#[test]
fn the_network_changes_no_wait_except_a_backoff() {
    for network in ALL {
        for mut it in [Machine::rejected(), Machine::turned_away()] {
            let wait = it.wait();
            it.network(network).expect([]);
            assert_eq!(it.wait(), wait);
        }
        Machine::unregistered().network(network).expect([]).expect_no_deadline();
    }
}

#[test]
fn a_change_during_an_attempt_shortens_its_phase_and_backoff() {
    type Fail = fn(&mut Machine, u64) -> &mut Machine;
    let (_, attempt) = dialing_after_a_long_backoff();
    let ways: [(Fail, Vec<Output>); 3] = [
        (|it, _| it.keep_deadline_in(secs(3)), timed_out(attempt, Phase::Resolve).into()),
        (Machine::unreachable, vec![unreachable_failed()]),
        (Machine::broken, vec![failed(FailReason::Lost(reset()))]),
    ];
    for (fail, wanted) in ways {
        for network in [Network::Up, Network::Changed] {
            let (mut it, attempt) = dialing_after_a_long_backoff();
            fail(it.network(network).expect([]), attempt);
            it.expect_wait(wanted.iter().cloned(), SPREAD);
        }
    }
}

#[test]
fn a_change_during_an_attempt_shortens_no_wait_by_the_cloud() {
    for (refusal, retry_after, range) in [
        (Refusal::Blocked, None, MAX_BACKOFF),
        (Refusal::RateLimited, Some(50), secs(50)..=secs(55)),
    ] {
        let mut it = Machine::dialing();
        it.network(Network::Changed).refused(1, refusal, retry_after);
        it.expect_wait([refusal_failed(refusal)], range);
    }
}

#[test]
fn an_attempt_that_progresses_after_a_change_has_full_deadlines() {
    let mut it = Machine::dialing();
    it.network(Network::Changed).phase(1, Phase::Upgrade).network(Network::Down);
    it.keep_deadline_in(secs(20));
}

#[test]
fn a_change_during_an_attempt_never_extends_its_phase() {
    let mut it = Machine::dialing();
    for _ in 0..30 {
        it.run_for(secs(1)).network(Network::Down);
    }
    it.network(Network::Changed).keep_deadline_in(secs(1));
}

#[test]
fn an_attempt_without_a_network_restarts_when_that_is_back() {
    for phase in [Phase::Resolve, Phase::Tcp] {
        let mut it = Machine::dialing();
        it.phase(1, phase).network(Network::Down).run_for(secs(7)).expect([]);
        it.network(Network::Up).expect_wait(cancelled(CloseCode::GoingAway), SPREAD);
        it.expect_dial_after_wait(2, by_token("stored"));
        assert_eq!(it.core.failures(), 0);
        // Only if the network was down.
        it.network(Network::Up).expect([]);
    }
}

#[test]
fn an_attempt_that_has_reached_the_cloud_continues() {
    for phase in [Phase::Tls, Phase::Upgrade, Phase::Welcome] {
        let mut it = Machine::dialing();
        it.phase(1, phase).network(Network::Down).network(Network::Up).expect([]);
        it.keep_deadline_in(secs(3));
    }
}

#[test]
fn a_login_dials_while_the_network_is_reported_down() {
    Machine::unregistered().network(Network::Down).login(1).expect(dial(1, by_login(1)));
}
