use crate::machine::*;

#[test]
fn a_login_ends_any_state_and_dials_immediately() {
    for (mut it, ended) in each_state(CloseCode::Normal) {
        let (attempt, token) = (it.core.attempts() + 1, it.snapshot().2);
        it.login(1).expect(ended.into_iter().chain(dial(attempt, by_login(1))));
        assert_eq!(it.snapshot().2, token);
        it.run_for(secs(14)).expect([]);
    }
}

#[test]
fn a_login_does_not_wait_for_earlier_failures() {
    let mut it = Machine::logging_in();
    for attempt in 1..=12 {
        it.unreachable(attempt).keep_next_deadline();
    }
    assert!(it.core.failures() >= 12);
    it.login(2);
    assert_eq!(it.core.failures(), 0);
}

#[test]
fn a_login_is_answered_after_its_token_is_on_disk() {
    let mut it = Machine::logging_in();
    it.welcomed(1).expect(connected());
    it.issued(1, "new").expect([store("new")]).expect_token(Some("new"));
    it.stored().expect([logged_in(1, true)]);
}

#[test]
fn a_login_says_if_its_token_is_not_on_disk() {
    let mut it = Machine::logged_in();
    it.issued(1, "new").expect([store("new")]);
    it.not_stored().expect([store_failed(), logged_in(1, false)]).expect_state(State::Connected);
    it.expect_token(Some("new"));
}

#[test]
fn a_login_is_not_answered_before_a_second_token_is_on_disk() {
    let mut it = Machine::logged_in();
    it.issued(1, "new").issued(1, "newer").expect([store("new")]);
    it.stored().expect([store("newer")]);
    it.stored().expect([logged_in(1, true)]);
}

#[test]
fn only_a_login_requests_a_missing_token_every_5_seconds() {
    let mut it = Machine::logged_in();
    for _ in 0..3 {
        it.run_for(secs(5)).expect([transmit(1, &UpFrame::TokenPlease)]);
        it.traffic(1);
    }
    it.issued(1, "new").expect([store("new")]);
    it.stored().discard_outputs().run_for(secs(18)).expect([]);
    // A connection by token requests none.
    Machine::connected().run_for(secs(18)).expect([]);
}

#[test]
fn a_rejected_login_without_a_token_ends_unregistered() {
    for refusal in rejections() {
        let mut it = Machine::logging_in();
        it.refused(1, refusal, None);
        it.expect([rejected(1, refusal), refusal_failed(refusal), emit(Event::Unregistered)]);
        it.expect_state(State::Unregistered);
    }
}

#[test]
fn a_rejected_login_keeps_the_old_token_and_dials_with_it() {
    for refusal in rejections() {
        let mut it = Machine::rejected();
        it.login(1).expect(dial(2, by_login(1)));
        it.refused(2, refusal, Some(3_000));
        it.expect_wait([rejected(1, refusal), refusal_failed(refusal)], SPREAD);
        it.expect_token(Some("stored"));
        it.expect_dial_after_wait(3, by_token("stored"));
    }
}

#[test]
fn a_login_waits_while_the_cloud_is_busy_or_unreachable() {
    let mut it = Machine::logging_in();
    it.refused(1, Refusal::RateLimited, Some(30));
    it.expect_wait([refusal_failed(Refusal::RateLimited)], secs(30)..=secs(33));
    it.expect_dial_after_wait(2, by_login(1));
    it.refused(2, Refusal::Unavailable, None);
    it.expect_wait([refusal_failed(Refusal::Unavailable)], secs(0)..=secs(2));
    it.expect_dial_after_wait(3, by_login(1));
    it.unreachable(3).expect_wait([unreachable_failed()], secs(0)..=secs(4));
    it.expect_dial_after_wait(4, by_login(1));
}

#[test]
fn a_login_that_loses_its_link_dials_with_the_credentials_again() {
    let mut it = Machine::logged_in();
    it.broken(1).expect_wait([lost(reset())], FIRST_BACKOFF);
    it.expect_dial_after_wait(2, by_login(1));
    it.welcomed(2).issued(2, "new").stored();
    it.expect(connected().into_iter().chain([store("new"), logged_in(1, true)]));
    it.broken(2).expect_wait([lost(reset())], secs(0)..=secs(2));
    it.expect_dial_after_wait(3, by_token("new"));
}

#[test]
fn a_newer_login_replaces_one_that_dials() {
    let mut it = Machine::logging_in();
    it.login(2);
    let wanted = [login_cancelled(1, GiveUp::NewerLogin)].into_iter();
    it.expect(wanted.chain(cancelled(CloseCode::Normal)).chain(dial(2, by_login(2))));
    let refusal = Refusal::BadCredentials;
    it.refused(2, refusal, None);
    it.expect([rejected(2, refusal), refusal_failed(refusal), emit(Event::Unregistered)]);
}

#[test]
fn a_newer_login_replaces_one_whose_token_is_being_stored() {
    let mut it = Machine::logged_in().after(|it| it.issued(1, "first"));
    it.login(2);
    let wanted = [
        login_cancelled(1, GiveUp::NewerLogin),
        disconnect(1, CloseCode::Normal),
        lost(LostReason::Local),
    ];
    it.expect(wanted.into_iter().chain(dial(2, by_login(2))));
    it.stored().expect([]).expect_token(Some("first"));
}

#[test]
fn credentials_that_are_too_long_are_answered_and_ignored() {
    let long = || Credentials::new().with("password", "x".repeat(5_000));
    for mut it in [Machine::connected(), Machine::dialing(), Machine::unregistered()] {
        let before = it.snapshot();
        it.core.handle_login(it.now, LoginId(9), long());
        let [Output::Other(Action::AnswerLogin { login: LoginId(9), result })] = &it.drain()[..]
        else {
            panic!("one answer and nothing else");
        };
        assert!(matches!(result, Err(LoginError::Invalid(AuthError::TooLong { .. }))));
        assert_eq!(it.snapshot(), before);
    }
    // Not even a login that waits is cancelled.
    let mut it = Machine::logging_in();
    it.core.handle_login(it.now, LoginId(9), long());
    assert_eq!(it.drain().len(), 1);
    it.welcomed(1).issued(1, "new").stored();
    assert_eq!(it.drain().last(), Some(&logged_in(1, true)));
}

#[test]
fn a_login_survives_the_revocation_of_earlier_tokens() {
    let mut it = Machine::rejected().after(|it| it.login(1).welcomed(2));
    let revoked = CloseReason::new(CloseCode::Revoked);
    it.closed(2, revoked).expect_wait([forget(), lost(LostReason::Closed(revoked))], MAX_BACKOFF);
    it.expect_dial_after_wait(3, by_login(1));
}

fn rejections() -> impl Iterator<Item = Refusal> {
    Refusal::ALL.into_iter().filter(|refusal| !matches!(refusal.status(), 429 | 503))
}

/// A nonce, and what it makes of the credentials of a login.
fn with_nonce(login: u64) -> (Nonce, Proof) {
    let nonce = Nonce::new([0xab; 16]);
    (nonce, Proof::Credentials(without_nonce(login).with("nonce", "ab".repeat(16))))
}

#[test]
fn credentials_without_a_nonce_are_sent_with_one() {
    for (mut it, ended) in each_state(CloseCode::Normal) {
        let attempt = it.core.attempts() + 1;
        let before = it.snapshot();
        it.core.handle_login(it.now, LoginId(1), without_nonce(1));
        // A connection continues until then.
        it.expect([load_nonce(1)]);
        assert_eq!(it.snapshot(), before);
        let (nonce, proof) = with_nonce(1);
        it.core.handle_nonce(it.now, LoginId(1), nonce);
        it.expect(ended.into_iter().chain(dial(attempt, proof)));
        // Once is enough.
        it.core.handle_nonce(it.now, LoginId(1), nonce);
        it.expect([]);
    }
}

#[test]
fn a_login_is_cancelled_while_its_nonce_is_loaded() {
    let (nonce, proof) = with_nonce(2);
    let start = || {
        let mut it = Machine::unregistered();
        it.core.handle_login(it.now, LoginId(1), without_nonce(1));
        it.after(|it| it)
    };
    let mut it = start();
    it.core.handle_login(it.now, LoginId(2), without_nonce(2));
    it.expect([login_cancelled(1, GiveUp::NewerLogin), load_nonce(2)]);
    it.core.handle_nonce(it.now, LoginId(1), nonce);
    it.expect([]).expect_state(State::Unregistered);
    it.core.handle_nonce(it.now, LoginId(2), nonce);
    it.expect(dial(1, proof));

    let mut it = start();
    it.login(2);
    it.expect([login_cancelled(1, GiveUp::NewerLogin)].into_iter().chain(dial(1, by_login(2))));

    for by in [GiveUp::Logout, GiveUp::Shutdown] {
        let mut it = start();
        if by == GiveUp::Logout {
            it.logout(1)
        } else {
            it.shutdown()
        };
        assert_eq!(it.drain().first(), Some(&login_cancelled(1, by)));
        it.core.handle_nonce(it.now, LoginId(1), nonce);
        it.expect([]);
    }
}

#[test]
fn a_nonce_that_does_not_fit_is_answered() {
    let mut it = Machine::connected();
    // The header is at most 4096 characters.
    let long = Credentials::new().with("password", "x".repeat(3_000));
    it.core.handle_login(it.now, LoginId(1), long);
    it.expect([load_nonce(1)]);
    it.core.handle_nonce(it.now, LoginId(1), with_nonce(1).0);
    let [Output::Other(Action::AnswerLogin { login: LoginId(1), result })] = &it.drain()[..] else {
        panic!("one answer and nothing else");
    };
    assert!(matches!(result, Err(LoginError::Invalid(AuthError::TooLong { .. }))));
    it.expect_state(State::Connected);
}
