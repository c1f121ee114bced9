use crate::machine::*;

const PHASES: [(Phase, u64); 5] = [
    (Phase::Resolve, 31),
    (Phase::Tcp, 15),
    (Phase::Tls, 15),
    (Phase::Upgrade, 20),
    (Phase::Welcome, 10),
];

#[test]
fn each_phase_has_its_own_deadline() {
    for (phase, deadline) in PHASES {
        let mut it = Machine::dialing();
        it.pass(secs(3)).phase(1, phase).expect([]);
        it.keep_deadline_in(secs(deadline)).expect_wait(timed_out(1, phase), FIRST_BACKOFF);
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn the_first_and_the_last_phase_start_without_a_report() {
    let mut it = Machine::dialing();
    it.keep_deadline_in(secs(31)).expect_wait(timed_out(1, Phase::Resolve), FIRST_BACKOFF);
    let mut it = Machine::dialing();
    it.pass(secs(14)).dialed(1, Ok(())).expect([]);
    it.keep_deadline_in(secs(10)).expect_wait(timed_out(1, Phase::Welcome), FIRST_BACKOFF);
}

#[test]
fn a_slow_attempt_within_its_deadlines_connects() {
    let mut it = Machine::dialing();
    for (phase, deadline) in PHASES {
        it.phase(1, phase).run_for(secs(deadline) - millis(1));
    }
    it.expect([]);
    it.frame(1, &DownFrame::Welcome(welcome())).expect(connected());
}

#[test]
fn a_timeout_before_its_deadline_does_nothing() {
    for mut it in [Machine::dialing(), Machine::connected(), Machine::backing_off()] {
        let before = it.snapshot();
        it.give(Connection::handle_timeout).expect([]);
        assert_eq!(it.snapshot(), before);
    }
}

/// Attempt 2 is dialing, connected or over: inputs from attempts that are older or never existed
/// change nothing. Nor do those from an attempt that has ended.
#[test]
fn inputs_from_another_or_an_ended_attempt_are_ignored() {
    let dialing = || Machine::backing_off().after(Machine::keep_next_deadline);
    let connected = || dialing().after(|it| it.welcomed(2));
    let waiting = || connected().after(|it| it.broken(2));
    for stale in [0, 1, 3, u64::MAX] {
        for it in [dialing(), connected(), waiting()] {
            assert_ignores_all_inputs(it, secs(1), stale);
        }
    }
    for it in [Machine::backing_off(), Machine::rejected()] {
        assert_ignores_all_inputs(it, secs(0), 1);
    }
}

#[track_caller]
fn assert_ignores_all_inputs(mut it: Machine, after: Duration, attempt: u64) {
    let before = it.snapshot();
    it.pass(after);
    for (phase, _) in PHASES {
        it.phase(attempt, phase);
    }
    it.frame(attempt, &DownFrame::Raw { sequence: None, bytes: vec![1] }).issued(attempt, "stale");
    it.bytes(attempt, b"").text(attempt, 3).traffic(attempt).welcomed(attempt).unreachable(attempt);
    for refusal in Refusal::ALL {
        it.refused(attempt, refusal, Some(1));
    }
    for code in [1000, 1012, 4401, 4403, 4409] {
        it.closed(attempt, CloseReason::parse(code, "retry-after=9"));
    }
    it.broken(attempt).lost(attempt, LostReason::NoPong).expect([]);
    assert_eq!(it.snapshot(), before);
    it.expect_token(Some("stored"));
}

#[test]
fn a_good_connection_lowers_the_backoff_and_a_minute_resets_it() {
    let cases = [(9, 8, 4), (10, 1, 1), (20, 2, 2), (39, 2, 2), (40, 4, 3), (59, 4, 3), (60, 1, 1)];
    for (lasted, bound, failures) in cases {
        let mut it = Machine::dialing();
        for attempt in 1..=3 {
            it.unreachable(attempt).keep_next_deadline();
        }
        it.welcomed(4);
        for _ in 0..lasted {
            it.run_for(secs(1)).traffic(4);
        }
        it.discard_outputs().expect_state(State::Connected);
        it.broken(4).expect_wait([lost(reset())], secs(0)..=secs(bound));
        assert_eq!(it.core.failures(), failures);
    }
}
