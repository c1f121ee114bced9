use crate::machine::*;

#[test]
fn a_new_connection_loads_the_token_first() {
    Machine::new().expect([load()]).expect_no_deadline().expect_state(State::Loading);
}

#[test]
fn a_device_is_not_unregistered_before_it_has_looked() {
    let mut it = Machine::new().after(|it| it);
    it.login(1).refused(1, Refusal::BadCredentials, None).expect_state(State::Loading);
    assert!(!it.drain().contains(&emit(Event::Unregistered)));
    it.loaded(Ok(None)).expect([emit(Event::Unregistered)]).expect_state(State::Unregistered);
}

#[test]
fn a_stored_token_is_used_after_a_small_spread() {
    let mut it = Machine::new().after(|it| it);
    it.loaded(Ok(Some(token("stored")))).expect_wait([], SPREAD).expect_token(Some("stored"));
    it.expect_dial_after_wait(1, by_token("stored"));
}

#[test]
fn a_device_without_a_token_is_unregistered_and_says_so_once() {
    let mut it = Machine::new().after(|it| it);
    it.loaded(Ok(None)).expect([emit(Event::Unregistered)]);
    for wait in [5, 10, 20, 40, 60, 60, 60] {
        it.keep_deadline_in(secs(wait)).expect([load()]);
        it.loaded(Ok(None)).expect([]);
    }
}

#[test]
fn a_store_that_is_mounted_late_is_read_again() {
    let mut it = Machine::new().after(|it| it);
    it.loaded(Err("read-only".into())).expect([store_failed(), emit(Event::Unregistered)]);
    it.keep_next_deadline().expect([load()]);
    it.loaded(Err("read-only".into())).expect([store_failed()]);
    it.keep_next_deadline().expect([load()]);
    it.loaded(Ok(Some(token("stored")))).expect_wait([], SPREAD);
    it.expect_dial_after_wait(1, by_token("stored"));
}

#[test]
fn a_token_loaded_during_a_login_is_used_if_the_login_fails() {
    let mut it = Machine::new().after(|it| it.login(1));
    it.loaded(Ok(Some(token("stored")))).expect([]);
    it.refused(1, Refusal::BadCredentials, None).discard_outputs();
    it.expect_dial_after_wait(2, by_token("stored"));
}

#[test]
fn a_token_from_the_cloud_ends_the_loading() {
    let mut it = Machine::new()
        .after(|it| it.loaded(Ok(None)).login(1).welcomed(1).issued(1, "new").stored());
    it.loaded(Ok(Some(token("older")))).expect([]).expect_token(Some("new"));
    for _ in 0..20 {
        assert!(!it.keep_next_deadline().traffic(1).drain().contains(&load()));
    }
}

#[test]
fn a_device_with_a_token_never_says_that_it_is_unregistered() {
    let mut it = Machine::new().after(|it| it);
    it.login(1).welcomed(1).issued(1, "new").stored();
    let wanted = dial(1, by_login(1)).into_iter().chain(connected());
    it.expect(wanted.chain([store("new"), logged_in(1, true)]));
    it.loaded(Ok(None)).expect([]);
}

#[test]
fn a_random_delay_uses_its_whole_range() {
    let backing_off =
        |seed| Machine::about_to_dial(seed).after(|it| it.keep_next_deadline().unreachable(1));
    let makers: [(&dyn Fn(u64) -> Machine, _); 2] =
        [(&Machine::about_to_dial, SPREAD), (&backing_off, FIRST_BACKOFF)];
    for (make, range) in makers {
        let waits: Vec<_> = (0..200).map(|seed| make(seed).wait()).collect();
        let tenth = *range.end() / 10;
        assert!(waits.iter().all(|wait| range.contains(wait)));
        assert!(waits.iter().any(|wait| *wait > tenth * 9));
        assert!(waits.iter().any(|wait| *wait < tenth));
    }
}
