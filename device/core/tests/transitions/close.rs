use crate::machine::*;

fn after(code: CloseCode, delay: u64) -> LostReason {
    LostReason::Closed(CloseReason::retry_after(code, secs(delay)))
}

fn close(code: CloseCode) -> LostReason {
    LostReason::Closed(CloseReason::new(code))
}

#[test]
fn the_end_of_a_connection_sets_the_wait_and_keeps_the_token() {
    let cases = [
        (reset(), FIRST_BACKOFF),
        (close(CloseCode::Normal), FIRST_BACKOFF),
        (close(CloseCode::GoingAway), FIRST_BACKOFF),
        (close(CloseCode::ProtocolError), FIRST_BACKOFF),
        (close(CloseCode::TooBig), FIRST_BACKOFF),
        (close(CloseCode::InternalError), FIRST_BACKOFF),
        (close(CloseCode::Restart), FIRST_BACKOFF),
        (close(CloseCode::Overloaded), FIRST_BACKOFF),
        (close(CloseCode::Other(4999)), FIRST_BACKOFF),
        (close(CloseCode::Policy), MAX_BACKOFF),
        (close(CloseCode::Blocked), MAX_BACKOFF),
        (after(CloseCode::Restart, 40), secs(40)..=secs(44)),
        (after(CloseCode::Overloaded, 40), secs(40)..=secs(44)),
        // At most an hour, and only with codes that allow a delay.
        (after(CloseCode::Restart, u64::MAX), secs(3_600)..=secs(3_960)),
        (after(CloseCode::GoingAway, 1_000), FIRST_BACKOFF),
    ];
    for (reason, range) in cases {
        for (mut it, event) in lost_in_each_phase(reason.clone()) {
            it.expect_wait([event], range.clone()).expect_token(Some("stored"));
            it.expect_dial_after_wait(2, by_token("stored"));
        }
    }
}

#[test]
fn a_replaced_device_says_so_and_waits_for_the_maximum_backoff() {
    for (mut it, event) in lost_in_each_phase(close(CloseCode::Replaced)) {
        it.expect_wait([event, emit(Event::Replaced)], MAX_BACKOFF);
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn a_revoked_device_forgets_its_token_and_is_unregistered() {
    for (mut it, event) in lost_in_each_phase(close(CloseCode::Revoked)) {
        it.expect([forget(), event, emit(Event::Unregistered)]);
        it.expect_token(None).expect_no_deadline();
    }
}

/// A link that is lost after the Welcome, and one that is lost before it, which means the same.
fn lost_in_each_phase(reason: LostReason) -> [(Machine, Output); 3] {
    let before = failed(FailReason::Lost(reason.clone()));
    let dialed = Machine::dialing().after(|it| it.dialed(1, Ok(())));
    let mut machines = [
        (Machine::connected(), lost(reason.clone())),
        (Machine::dialing(), before.clone()),
        (dialed, before),
    ];
    for (it, _) in &mut machines {
        it.lost(1, reason.clone());
    }
    machines
}
