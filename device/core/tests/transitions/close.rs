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
        let mut it = Machine::connected();
        it.lost(1, reason.clone());
        it.expect_wait([lost(reason)], range);
        it.expect_dial_after_wait(2, by_token("stored"));
    }
}

#[test]
fn a_replaced_device_says_so_and_waits_for_the_maximum_backoff() {
    let mut it = Machine::connected();
    it.lost(1, close(CloseCode::Replaced));
    it.expect_wait([lost(close(CloseCode::Replaced)), emit(Event::Replaced)], MAX_BACKOFF);
    it.expect_dial_after_wait(2, by_token("stored"));
}

#[test]
fn a_revoked_device_forgets_its_token_and_is_unregistered() {
    let mut it = Machine::connected();
    it.lost(1, close(CloseCode::Revoked));
    it.expect([forget(), lost(close(CloseCode::Revoked)), emit(Event::Unregistered)]);
    assert_eq!(it.held_token(), None);
    assert_eq!(it.core.poll_timeout(), None);
}

#[test]
fn a_close_before_the_welcome_means_the_same() {
    let dialing_lost = |reason: LostReason| {
        let mut it = Machine::dialing();
        it.lost(1, reason.clone());
        (it, failed(FailReason::Lost(reason)))
    };
    let (mut it, failed) = dialing_lost(close(CloseCode::Replaced));
    it.expect_wait([failed, emit(Event::Replaced)], MAX_BACKOFF);

    let (mut it, failed) = dialing_lost(after(CloseCode::Restart, 40));
    it.expect_wait([failed], secs(40)..=secs(44));

    let (mut it, failed) = dialing_lost(close(CloseCode::Revoked));
    it.expect([forget(), failed, emit(Event::Unregistered)]);

    let (mut it, failed) = dialing_lost(reset());
    it.expect_wait([failed], FIRST_BACKOFF);
}
