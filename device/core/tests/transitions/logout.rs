use crate::machine::*;

#[test]
fn a_logout_ends_any_state_and_forgets_the_token() {
    for (mut it, ended) in each_state(CloseCode::Normal) {
        it.logout(1)
            .expect(ended.into_iter().chain(forget_all()).chain([emit(Event::Unregistered)]));
        it.expect_token(None).expect_no_deadline();
    }
}

#[test]
fn a_logout_cancels_a_waiting_login() {
    let mut it = Machine::logging_in();
    let [disconnected, failed] = cancelled(CloseCode::Normal);
    let answered = login_cancelled(1, GiveUp::Logout);
    let wanted = [answered, disconnected, failed, forget_nonce(), forget()];
    it.logout(1).expect(wanted.into_iter().chain([emit(Event::Unregistered)]));
}

#[test]
fn a_logout_also_deletes_a_token_that_is_being_stored() {
    let mut it = Machine::logged_in();
    it.issued(1, "new").expect([store("new")]);
    it.logout(1);
    it.expect([
        login_cancelled(1, GiveUp::Logout),
        disconnect(1, CloseCode::Normal),
        lost(LostReason::Local),
        forget_nonce(),
        emit(Event::Unregistered),
    ]);
    it.stored().expect([forget()]);
    it.stored().expect([answer_logout(1, Ok(()))]);
}

#[test]
fn a_logout_is_answered_with_the_result_of_the_deletion() {
    for result in [Ok(()), Err("read-only".to_owned())] {
        let mut it = Machine::connected().after(|it| it.logout(1).logout(2));
        it.stored().expect([forget()]);
        it.core.handle_stored(it.now, result.clone());
        let failed = result.is_err().then(store_failed);
        // The first one with it.
        it.expect(failed.into_iter().chain([answer_logout(2, result)]));
        // A retry answers nothing again.
        it.run_for(secs(1)).discard_outputs().stored().expect([]);
    }
}

#[test]
fn a_token_that_is_loaded_after_a_logout_is_ignored() {
    let mut it = Machine::new().after(|it| it.logout(1));
    it.loaded(Ok(Some(token("stored")))).expect([]).expect_token(None);
}
