use std::time::Duration;

use fedecks_device_core::{Event, State};
use fedecks_protocol::Refusal;

use crate::machine::*;

#[test]
fn an_expired_or_revoked_token_is_forgotten_and_the_device_is_unregistered() {
    for refusal in [Refusal::TokenExpired, Refusal::TokenRevoked] {
        let mut it = Machine::dialing();
        it.refused(1, refusal, None);
        it.expect([forget(), refusal_failed(refusal), emit(Event::Unregistered)]);
        assert_eq!(it.held_token(), None);
        assert_eq!(it.core.poll_timeout(), None);
    }
}

#[test]
fn every_other_rejection_keeps_the_token_and_waits_the_longest_back_off() {
    for refusal in Refusal::ALL {
        if matches!(
            refusal,
            Refusal::TokenExpired
                | Refusal::TokenRevoked
                | Refusal::RateLimited
                | Refusal::Unavailable
        ) {
            continue;
        }
        let mut it = Machine::dialing();
        it.refused(1, refusal, None);
        it.expect_wait([refusal_failed(refusal)], LONGEST);
        assert_eq!(it.held_token(), Some("stored"));
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn a_delay_that_the_cloud_asks_for_is_kept_and_a_little_more() {
    for refusal in [Refusal::RateLimited, Refusal::Unavailable] {
        let mut it = Machine::dialing();
        it.refused(1, refusal, Some(120));
        it.expect_wait([refusal_failed(refusal)], secs(120)..=secs(132));
        assert_eq!(it.held_token(), Some("stored"));
    }
}

#[test]
fn a_delay_of_nothing_is_a_back_off() {
    let mut it = Machine::dialing();
    it.refused(1, Refusal::Unavailable, Some(0));
    it.expect_wait([refusal_failed(Refusal::Unavailable)], FIRST_BACKOFF);
}

#[test]
fn no_delay_beyond_an_hour_is_kept() {
    for asked in [3_601, 86_400, u64::MAX] {
        let mut it = Machine::dialing();
        it.refused(1, Refusal::Unavailable, Some(asked));
        it.expect_wait([refusal_failed(Refusal::Unavailable)], secs(3_600)..=secs(3_960));
    }
}

#[test]
fn busy_without_a_delay_is_a_back_off() {
    for refusal in [Refusal::RateLimited, Refusal::Unavailable] {
        let mut it = Machine::dialing();
        it.refused(1, refusal, None);
        it.expect_wait([refusal_failed(refusal)], FIRST_BACKOFF);
    }
}

#[test]
fn an_answer_that_is_not_the_clouds_costs_nothing_however_often_it_comes() {
    let mut it = Machine::dialing();
    for attempt in 1..=50 {
        it.unreachable(attempt);
        let bound = Duration::from_secs(1 << (attempt - 1).min(9)).min(secs(300));
        it.expect_wait([unreachable_failed()], secs(0)..=bound);
        assert_eq!(it.core.failures(), u32::try_from(attempt).unwrap());
        it.expect_dial_after_wait(attempt + 1, by_token("stored"));
    }
    assert_eq!(it.core.state(), State::Dialing { attempt: fedecks_device_core::Attempt(51) });
}

#[test]
fn the_back_off_uses_its_whole_range() {
    let waits: Vec<_> = (0..200)
        .map(|seed| {
            let mut it = Machine::dialing_with_seed(seed);
            it.unreachable(1);
            it.wait()
        })
        .collect();
    assert!(waits.iter().all(|wait| FIRST_BACKOFF.contains(wait)));
    assert!(waits.iter().any(|wait| wait.as_millis() > 900));
    assert!(waits.iter().any(|wait| wait.as_millis() < 100));
}
