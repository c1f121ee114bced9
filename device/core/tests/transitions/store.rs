use crate::machine::*;

/// Keeps the connection alive for some seconds. Returns the outputs except pings.
fn seconds(it: &mut Machine, count: u64) -> Vec<Output> {
    for _ in 0..count {
        it.run_for(secs(1));
        it.traffic(1);
    }
    it.drain().into_iter().filter(|output| *output != ping(1)).collect()
}

#[test]
fn a_failing_store_is_retried_with_backoff_until_it_works() {
    let mut it = Machine::connected();
    it.issued(1, "new");
    it.expect([store("new")]);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        it.not_stored();
        it.expect([store_failed()]);
        assert_eq!(seconds(&mut it, wait - 1), []);
        assert_eq!(seconds(&mut it, 1), [store("new")]);
    }
    it.stored();
    assert_eq!(seconds(&mut it, 120), []);
    assert_eq!(it.core.state(), State::Connected);
}

#[test]
fn a_store_that_works_again_resets_the_backoff() {
    let mut it = Machine::connected();
    for text in ["first", "second"] {
        it.issued(1, text);
        it.not_stored();
        it.drain();
        assert_eq!(seconds(&mut it, 1), [store(text)]);
        it.stored();
    }
}

#[test]
fn a_failing_store_is_retried_without_a_connection() {
    let mut it = Machine::dialing().after(|it| {
        it.refused(1, Refusal::TokenRevoked, None);
        it.not_stored();
    });
    assert_eq!(it.keep_next_deadline(), secs(1));
    it.expect([forget()]);
    it.stored();
    it.expect([]);
    assert_eq!(it.core.poll_timeout(), None);
}

#[test]
fn a_store_gets_one_command_at_a_time_and_then_the_newest() {
    let mut it = Machine::connected();
    for text in ["first", "second", "third", "fourth"] {
        it.issued(1, text);
    }
    it.expect([store("first")]);
    assert_eq!(it.held_token(), Some("fourth"));
    it.stored();
    it.expect([store("fourth")]);
    it.stored();
    it.expect([]);
}

#[test]
fn a_failed_command_is_dropped_for_a_newer_one() {
    let mut it = Machine::connected();
    it.issued(1, "first");
    it.issued(1, "second");
    it.expect([store("first")]);
    it.not_stored();
    it.expect([store_failed(), store("second")]);
    it.stored();
    assert_eq!(seconds(&mut it, 60), []);
}

#[test]
fn a_newer_token_does_not_wait_for_the_retry() {
    let mut it = Machine::connected().after(|it| {
        it.issued(1, "first");
        it.not_stored();
    });
    it.issued(1, "second");
    it.expect([store("second")]);
}

#[test]
fn a_connection_knows_whether_the_store_is_up_to_date() {
    let mut it = Machine::logged_in();
    assert_eq!(it.core.stored(), Stored::Yes);
    it.issued(1, "new");
    assert_eq!(it.core.stored(), Stored::Pending);
    it.not_stored();
    assert_eq!(it.core.stored(), Stored::Failed);
    it.logout(1);
    assert_eq!(it.core.stored(), Stored::Pending);
    it.stored();
    assert_eq!(it.core.stored(), Stored::Yes);
}
