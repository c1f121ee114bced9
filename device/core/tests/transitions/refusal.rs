use crate::machine::*;

#[test]
fn a_revoked_token_is_forgotten() {
    let mut it = Machine::dialing();
    it.refused(1, Refusal::TokenRevoked, None);
    it.expect([forget(), refusal_failed(Refusal::TokenRevoked), emit(Event::Unregistered)]);
    it.expect_token(None).expect_no_deadline();
}

#[test]
fn an_expired_token_is_kept_and_tried_at_the_longest_wait() {
    let mut it = Machine::dialing();
    for attempt in 1..=50 {
        it.refused(attempt, Refusal::TokenExpired, None);
        // The application is notified once.
        let notified = (attempt == 1).then(|| emit(Event::TokenLate));
        let outputs = [refusal_failed(Refusal::TokenExpired)].into_iter().chain(notified);
        it.expect_wait(outputs, MAX_BACKOFF).expect_token(Some("stored"));
        assert!(matches!(it.core.state(), State::Late { .. }));
        it.expect_dial_after_wait(attempt + 1, by_token("stored"));
    }
}

#[test]
fn any_other_refusal_determines_the_wait_and_keeps_the_token() {
    let busy =
        [Refusal::RateLimited, Refusal::InUse, Refusal::ApprovalPending, Refusal::Unavailable];
    let others = [Refusal::TokenExpired, Refusal::TokenRevoked];
    let rejections =
        Refusal::ALL.into_iter().filter(|it| !busy.contains(it) && !others.contains(it));
    let mut cases: Vec<_> = rejections.map(|refusal| (refusal, None, MAX_BACKOFF)).collect();
    for refusal in busy {
        cases.push((refusal, None, FIRST_BACKOFF));
        cases.push((refusal, Some(0), FIRST_BACKOFF));
        cases.push((refusal, Some(120), secs(120)..=secs(132)));
        for beyond_an_hour in [3_601, 86_400, u64::MAX] {
            cases.push((refusal, Some(beyond_an_hour), secs(3_600)..=secs(3_960)));
        }
    }
    for (refusal, retry_after, range) in cases {
        let mut it = Machine::dialing();
        it.refused(1, refusal, retry_after).expect_wait([refusal_failed(refusal)], range);
        it.expect_token(Some("stored"));
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn an_unreachable_cloud_never_costs_the_token() {
    let mut it = Machine::dialing();
    for attempt in 1..=50 {
        it.unreachable(attempt);
        let bound = secs(1 << (attempt - 1).min(9)).min(secs(300));
        it.expect_wait([unreachable_failed()], secs(0)..=bound);
        assert_eq!(it.core.failures(), u32::try_from(attempt).unwrap());
        it.expect_dial_after_wait(attempt + 1, by_token("stored"));
    }
    it.expect_state(State::Dialing { attempt: Attempt(51) });
}
