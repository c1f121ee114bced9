use crate::machine::*;

#[test]
fn a_silent_connection_is_pinged_and_then_aborted() {
    let mut it = Machine::connected();
    it.keep_deadline_in(secs(19)).expect([ping(1)]);
    it.keep_deadline_in(secs(10)).expect_wait(aborted(LostReason::NoPong), FIRST_BACKOFF);
    it.expect_dial_after_wait(2, by_token("stored"));
}

#[test]
fn a_silent_device_pings_while_the_cloud_sends() {
    let mut it = Machine::connected();
    for _ in 0..3 {
        it.run_for(secs(7)).frame(1, &DownFrame::Raw { sequence: None, bytes: vec![] });
        it.run_for(secs(7)).traffic(1);
        assert_eq!(it.drain().len(), 1);
        it.run_for(millis(4_999)).expect([]);
        it.run_for(millis(1)).expect([ping(1)]);
        it.traffic(1);
    }
}

#[test]
fn a_sending_device_pings_while_the_cloud_is_silent() {
    let mut it = Machine::connected();
    for _ in 0..18 {
        it.run_for(secs(1)).expect_sent(&message("hello"));
    }
    it.run_for(secs(1)).expect([ping(1)]);
}

#[test]
fn traffic_in_both_directions_postpones_the_ping() {
    let mut it = Machine::connected();
    for _ in 0..100 {
        it.run_for(secs(10)).expect_sent(&message("hello")).text(1, 1);
        assert_eq!(it.drain().len(), 1);
    }
    it.run_for(millis(18_999)).expect([]);
    it.run_for(millis(1)).expect([ping(1)]);
}

#[test]
fn any_traffic_from_the_cloud_answers_a_ping() {
    let answers: [fn(&mut Machine) -> &mut Machine; 5] = [
        |it| it.traffic(1),
        |it| it.text(1, 4),
        |it| it.bytes(1, &[0x7f]),
        |it| it.frame(1, &DownFrame::Raw { sequence: None, bytes: vec![] }),
        |it| it.pong(1),
    ];
    for answer in answers {
        let mut it = Machine::connected();
        it.keep_next_deadline().pass(millis(9_999));
        answer(&mut it).discard_outputs().keep_deadline_in(millis(9_001)).expect([ping(1)]);
        it.expect_state(State::Connected);
    }
}

#[test]
fn neither_messages_nor_pings_extend_the_pong_deadline() {
    let inputs: [fn(&mut Machine) -> &mut Machine; 2] = [
        |it| it.expect_sent(&message("hello")),
        |it| it.network(Network::Changed).expect([ping(1)]),
    ];
    for input in inputs {
        let mut it = Machine::connected();
        it.keep_next_deadline().expect([ping(1)]).run_for(secs(8));
        input(&mut it)
            .keep_deadline_in(secs(2))
            .expect_wait(aborted(LostReason::NoPong), FIRST_BACKOFF);
    }
}

#[test]
fn the_welcome_sets_the_interval_within_bounds() {
    for (asked, used) in [(30, 30), (1, 1), (0, 1), (300, 300), (301, 300), (u64::MAX, 300)] {
        let mut it = Machine::connected_with(Welcome { heartbeat: secs(asked), ..welcome() });
        let start = it.now;
        while !it.keep_next_deadline().drain().contains(&ping(1)) {
            assert!(it.core.state() == State::Connected && it.now - start < secs(301));
        }
        assert_eq!(it.now - start, secs(used), "asked for {asked}");
    }
}

#[test]
fn an_idle_timeout_below_the_interval_is_ignored() {
    let (heartbeat, idle_timeout) = (secs(100), secs(5));
    let mut it = Machine::connected_with(Welcome { heartbeat, idle_timeout, ..welcome() });
    it.run_for(secs(100)).expect([ping(1)]).expect_state(State::Connected);
}

#[test]
fn the_round_trip_time_is_measured_by_pongs_only() {
    let mut it = Machine::connected();
    assert_eq!(it.core.round_trip(), None);
    assert_eq!(it.pong(1).core.round_trip(), None);

    it.keep_next_deadline().pass(millis(40)).traffic(1).pass(millis(20)).pong(0);
    assert_eq!(it.core.round_trip(), None);
    assert_eq!(it.pong(1).core.round_trip(), Some(millis(60)));
    assert_eq!(it.broken(1).core.round_trip(), Some(millis(60)));
}

/// TCP has sent a lost ping again after two round trips at the latest.
#[test]
fn a_ping_over_a_slow_link_may_take_four_round_trips() {
    for (round_trip, deadline) in [(0, 10), (2, 10), (4, 16), (9, 30)] {
        let mut it = Machine::connected();
        // Past the minute after which the connection is stable.
        for _ in 0..4 {
            while !it.keep_next_deadline().drain().contains(&ping(1)) {}
            it.pass(secs(round_trip)).pong(1);
        }
        while !it.keep_next_deadline().drain().contains(&ping(1)) {}
        it.keep_deadline_in(secs(deadline)).expect_wait(aborted(LostReason::NoPong), FIRST_BACKOFF);
    }
}
