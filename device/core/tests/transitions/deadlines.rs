use fedecks_device_core::{Attempt, DialError, FailReason, LostReason, Phase, State};
use fedecks_protocol::{CloseCode, CloseReason, DownFrame};

use crate::machine::*;

const PHASES: [(Phase, u64); 5] = [
    (Phase::Resolve, 15),
    (Phase::Tcp, 15),
    (Phase::Tls, 15),
    (Phase::Upgrade, 20),
    (Phase::Welcome, 10),
];

#[test]
fn each_phase_has_its_deadline() {
    for (phase, deadline) in PHASES {
        let mut it = Machine::dialing();
        it.pass(secs(3));
        it.core.handle_phase(it.now, Attempt(1), phase);
        it.expect([]);
        assert_eq!(it.keep_next_deadline(), secs(deadline));
        it.expect_wait([disconnect(1, CloseCode::GoingAway), timed_out(phase)], FIRST_BACKOFF);
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn an_attempt_of_which_nothing_is_heard_ends_as_if_resolving() {
    let mut it = Machine::dialing();
    assert_eq!(it.keep_next_deadline(), secs(15));
    it.expect_wait([disconnect(1, CloseCode::GoingAway), timed_out(Phase::Resolve)], FIRST_BACKOFF);
}

#[test]
fn the_welcome_is_awaited_from_the_upgrade_on() {
    let mut it = Machine::dialing();
    it.pass(secs(14));
    it.core.handle_dialed(it.now, Attempt(1), Ok(()));
    it.expect([]);
    assert_eq!(it.keep_next_deadline(), secs(10));
    it.expect_wait([disconnect(1, CloseCode::GoingAway), timed_out(Phase::Welcome)], FIRST_BACKOFF);
}

#[test]
fn a_slow_attempt_within_its_deadlines_connects() {
    let mut it = Machine::dialing();
    for (phase, deadline) in PHASES {
        it.core.handle_phase(it.now, Attempt(1), phase);
        it.run_for(secs(deadline) - std::time::Duration::from_millis(1));
    }
    it.expect([]);
    it.frame(1, &DownFrame::Welcome(welcome()));
    it.expect(connected());
}

#[test]
fn a_deadline_before_its_time_does_nothing() {
    for mut it in [Machine::dialing(), Machine::connected(), Machine::backing_off()] {
        let (state, timeout) = (it.core.state(), it.core.poll_timeout());
        it.core.handle_timeout(it.now);
        it.expect([]);
        assert_eq!((it.core.state(), it.core.poll_timeout()), (state, timeout));
    }
}

#[test]
fn a_link_that_ends_before_the_welcome_is_a_failed_attempt() {
    let mut it = Machine::dialing();
    it.core.handle_dialed(it.now, Attempt(1), Ok(()));
    it.broken(1);
    it.expect_wait([failed(FailReason::Lost(LostReason::Broken("reset".into())))], FIRST_BACKOFF);
}

/// Attempt 2 is under way, connected, or over; news from attempt 1, and from one that never was,
/// change nothing.
#[test]
fn news_of_another_attempt_is_ignored() {
    let dialing = || {
        let mut it = Machine::backing_off();
        it.keep_next_deadline();
        it.drain();
        it
    };
    let connected = || {
        let mut it = dialing();
        it.welcomed(2);
        it.drain();
        it
    };
    let waiting = || {
        let mut it = connected();
        it.broken(2);
        it.drain();
        it
    };
    let makers: [&dyn Fn() -> Machine; 3] = [&dialing, &connected, &waiting];
    for make in makers {
        for stale in [0, 1, 3, u64::MAX] {
            let mut it = make();
            let (state, timeout) = (it.core.state(), it.core.poll_timeout());
            it.pass(secs(1));
            all_news(&mut it, Attempt(stale));
            it.expect([]);
            assert_eq!((it.core.state(), it.core.poll_timeout()), (state, timeout));
            assert_eq!(it.held_token(), Some("stored"));
        }
    }
}

/// Its own attempt is over too: what still comes of it is as old.
#[test]
fn news_of_an_attempt_that_is_over_is_ignored() {
    for make in [Machine::backing_off, Machine::set_aside] {
        let mut it = make();
        let (state, timeout) = (it.core.state(), it.core.poll_timeout());
        all_news(&mut it, Attempt(1));
        it.expect([]);
        assert_eq!((it.core.state(), it.core.poll_timeout()), (state, timeout));
        assert_eq!(it.held_token(), Some("stored"));
    }
}

fn all_news(it: &mut Machine, attempt: Attempt) {
    for (phase, _) in PHASES {
        it.core.handle_phase(it.now, attempt, phase);
    }
    for frame in [
        DownFrame::Welcome(welcome()),
        DownFrame::Token(token("stale")),
        DownFrame::Raw { sequence: None, bytes: vec![1] },
    ] {
        it.frame(attempt.0, &frame);
    }
    it.core.handle_message(it.now, attempt, b"");
    it.core.handle_text(it.now, attempt, 3);
    it.core.handle_traffic(it.now, attempt);
    it.core.handle_dialed(it.now, attempt, Ok(()));
    it.unreachable(attempt.0);
    for refusal in fedecks_protocol::Refusal::ALL {
        let error = DialError::Refused { refusal, retry_after: Some(secs(1)) };
        it.core.handle_dialed(it.now, attempt, Err(error));
    }
    for code in [1000, 1012, 4401, 4403, 4409] {
        it.closed(attempt.0, CloseReason::parse(code, "retry-after=9"));
    }
    it.broken(attempt.0);
    it.core.handle_lost(it.now, attempt, LostReason::NoPong);
}

#[test]
fn the_back_off_begins_again_after_a_minute_of_connection_and_not_before() {
    for (lasted, bound) in [(59, 8), (60, 1)] {
        let mut it = Machine::dialing();
        for attempt in 1..=3 {
            it.unreachable(attempt);
            it.keep_next_deadline();
        }
        it.welcomed(4);
        it.drain();
        for _ in 0..lasted {
            it.run_for(secs(1));
            it.core.handle_traffic(it.now, Attempt(4));
        }
        it.drain();
        assert_eq!(it.core.state(), State::Connected);
        it.broken(4);
        it.expect_wait([lost_by_reset()], secs(0)..=secs(bound));
        assert_eq!(it.core.failures(), if lasted == 60 { 1 } else { 4 });
    }
}
