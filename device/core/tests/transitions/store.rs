use crate::machine::*;

/// Keeps the connection alive for some seconds. Returns the outputs except pings.
fn seconds(it: &mut Machine, count: u64) -> Vec<Output> {
    for _ in 0..count {
        it.run_for(secs(1)).traffic(1);
    }
    it.drain().into_iter().filter(|output| *output != ping(1)).collect()
}

#[test]
fn a_failing_store_is_retried_with_backoff_until_it_works() {
    let mut it = Machine::connected();
    it.issued(1, "new").expect([store("new")]);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        it.not_stored().expect([store_failed()]);
        assert_eq!(seconds(&mut it, wait - 1), []);
        assert_eq!(seconds(&mut it, 1), [store("new")]);
    }
    it.stored();
    assert_eq!(seconds(&mut it, 120), []);
    it.expect_state(State::Connected);
}

#[test]
fn a_store_that_works_again_resets_the_backoff() {
    let mut it = Machine::connected();
    for text in ["first", "second"] {
        it.issued(1, text).not_stored().discard_outputs();
        assert_eq!(seconds(&mut it, 1), [store(text)]);
        it.stored();
    }
}

#[test]
fn a_failing_store_is_retried_without_a_connection() {
    let mut it = Machine::dialing();
    it.refused(1, Refusal::TokenRevoked, None).not_stored().discard_outputs();
    it.keep_deadline_in(secs(1)).expect([forget()]);
    it.stored().expect([]).expect_no_deadline();
}

#[test]
fn a_store_gets_one_command_at_a_time_and_then_the_newest() {
    let mut it = Machine::connected();
    for text in ["first", "second", "third", "fourth"] {
        it.issued(1, text);
    }
    it.expect([store("first")]).expect_token(Some("fourth"));
    it.stored().expect([store("fourth")]);
    it.stored().expect([]);
}

#[test]
fn a_failed_command_is_dropped_for_a_newer_one() {
    let mut it = Machine::connected();
    it.issued(1, "first").issued(1, "second").expect([store("first")]);
    it.not_stored().expect([store_failed(), store("second")]);
    it.stored();
    assert_eq!(seconds(&mut it, 60), []);
}

#[test]
fn a_newer_token_does_not_wait_for_the_retry() {
    let mut it = Machine::connected().after(|it| it.issued(1, "first").not_stored());
    it.issued(1, "second").expect([store("second")]);
}

#[test]
fn a_connection_knows_whether_the_store_is_up_to_date() {
    let mut it = Machine::logged_in();
    assert_eq!(it.core.stored(), Stored::Yes);
    assert_eq!(it.issued(1, "new").core.stored(), Stored::Pending);
    assert_eq!(it.not_stored().core.stored(), Stored::Failed);
    assert_eq!(it.logout(1).core.stored(), Stored::Pending);
    assert_eq!(it.stored().core.stored(), Stored::Yes);
}
