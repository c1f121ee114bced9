use fedecks_device_core::{
    Event, FailReason, GiveUp, LoggedIn, LoginError, LoginId, LostReason, State,
};
use fedecks_protocol::{
    AuthError, CloseCode, CloseReason, Credentials, DownFrame, Refusal, UpFrame,
};

use crate::machine::*;

const FOR_NEWER: Result<LoggedIn, LoginError> = Err(LoginError::GivenUp(GiveUp::NewerLogin));
const FOR_LOGOUT: Result<LoggedIn, LoginError> = Err(LoginError::GivenUp(GiveUp::Logout));

#[test]
fn a_login_dials_at_once_with_the_credentials() {
    let mut it = Machine::unregistered();
    it.login(1);
    it.expect(dial(1, by_login(1)));
}

#[test]
fn a_new_login_does_not_wait_for_failures_from_before_it() {
    let mut it = Machine::logging_in();
    for attempt in 1..=12 {
        it.unreachable(attempt);
        it.keep_next_deadline();
    }
    assert!(it.core.failures() >= 12);
    it.login(2);
    assert_eq!(it.core.failures(), 0);
}

#[test]
fn a_login_is_answered_after_its_token_is_on_disk() {
    let mut it = Machine::logging_in();
    it.welcomed(1);
    it.expect(connected());
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    assert_eq!(it.held_token(), Some("new"));
    it.stored();
    it.expect([answer(1, Ok(LoggedIn { persisted: true }))]);
}

#[test]
fn a_login_whose_token_is_not_on_disk_says_so_and_the_store_is_tried_again() {
    let mut it = Machine::logged_in();
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    it.not_stored();
    it.expect([store_failed(), answer(1, Ok(LoggedIn { persisted: false }))]);
    assert_eq!(it.core.state(), State::Connected);
    assert_eq!(it.held_token(), Some("new"));
}

#[test]
fn a_second_token_does_not_answer_the_login_before_it_is_on_disk_too() {
    let mut it = Machine::logged_in();
    it.frame(1, &DownFrame::Token(token("new")));
    it.frame(1, &DownFrame::Token(token("newer")));
    it.expect([store("new")]);
    it.stored();
    it.expect([store("newer")]);
    it.stored();
    it.expect([answer(1, Ok(LoggedIn { persisted: true }))]);
}

#[test]
fn a_token_that_does_not_come_is_asked_for_every_5_seconds() {
    let mut it = Machine::logged_in();
    for _ in 0..3 {
        it.run_for(secs(5));
        it.expect([transmit(1, &UpFrame::TokenPlease)]);
        it.core.handle_traffic(it.now, fedecks_device_core::Attempt(1));
    }
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    it.stored();
    it.drain();
    it.run_for(secs(18));
    it.expect([]);
}

#[test]
fn a_connection_by_token_asks_for_no_token() {
    let mut it = Machine::connected();
    it.run_for(secs(18));
    it.expect([]);
}

#[test]
fn a_rejected_login_without_a_token_leaves_the_device_unregistered() {
    for refusal in rejections() {
        let mut it = Machine::logging_in();
        it.refused(1, refusal, None);
        it.expect([
            answer(1, Err(LoginError::Rejected(refusal))),
            refusal_failed(refusal),
            emit(Event::Unregistered),
        ]);
        assert_eq!(it.core.state(), State::Unregistered);
    }
}

#[test]
fn a_rejected_login_keeps_the_old_token_and_dials_with_it_at_once() {
    for refusal in rejections() {
        let mut it = Machine::set_aside();
        it.login(1);
        it.expect(dial(2, by_login(1)));
        it.refused(2, refusal, Some(3_000));
        it.expect_wait(
            [answer(1, Err(LoginError::Rejected(refusal))), refusal_failed(refusal)],
            SPREAD,
        );
        assert_eq!(it.held_token(), Some("stored"));
        it.expect_dial_after_wait(3, by_token("stored"));
    }
}

#[test]
fn a_login_waits_while_the_cloud_is_busy_or_not_reached() {
    let mut it = Machine::logging_in();
    it.refused(1, Refusal::RateLimited, Some(30));
    it.expect_wait([refusal_failed(Refusal::RateLimited)], secs(30)..=secs(33));
    it.expect_dial_after_wait(2, by_login(1));
    it.refused(2, Refusal::Unavailable, None);
    it.expect_wait([refusal_failed(Refusal::Unavailable)], secs(0)..=secs(2));
    it.expect_dial_after_wait(3, by_login(1));
    it.unreachable(3);
    it.expect_wait([unreachable_failed()], secs(0)..=secs(4));
    it.expect_dial_after_wait(4, by_login(1));
}

#[test]
fn a_login_whose_link_breaks_before_its_token_goes_on_with_the_credentials() {
    let mut it = Machine::logged_in();
    it.broken(1);
    it.expect_wait([lost_by_reset()], FIRST_BACKOFF);
    it.expect_dial_after_wait(2, by_login(1));
    it.welcomed(2);
    it.frame(2, &DownFrame::Token(token("new")));
    it.stored();
    let mut wanted = Vec::from(connected());
    wanted.extend([store("new"), answer(1, Ok(LoggedIn { persisted: true }))]);
    it.expect(wanted);
    it.broken(2);
    it.expect_wait([lost_by_reset()], secs(0)..=secs(2));
    it.expect_dial_after_wait(3, by_token("new"));
}

#[test]
fn a_login_while_connected_ends_the_connection_first() {
    let mut it = Machine::connected();
    it.login(1);
    let mut wanted = vec![disconnect(1, CloseCode::Normal), lost(LostReason::Local)];
    wanted.extend(dial(2, by_login(1)));
    it.expect(wanted);
    assert_eq!(it.held_token(), Some("stored"));
}

#[test]
fn a_login_during_an_attempt_ends_the_attempt_first() {
    let mut it = Machine::dialing();
    it.login(1);
    let mut wanted = vec![disconnect(1, CloseCode::Normal), failed(FailReason::GivenUp)];
    wanted.extend(dial(2, by_login(1)));
    it.expect(wanted);
}

#[test]
fn a_login_does_not_wait_for_any_wait() {
    for mut it in [Machine::backing_off(), Machine::set_aside()] {
        it.login(1);
        it.expect(dial(2, by_login(1)));
        it.run_for(secs(14));
        it.expect([]);
    }
}

#[test]
fn a_newer_login_takes_the_place_of_one_that_waits() {
    let mut it = Machine::logging_in();
    it.login(2);
    let mut wanted =
        vec![answer(1, FOR_NEWER), disconnect(1, CloseCode::Normal), failed(FailReason::GivenUp)];
    wanted.extend(dial(2, by_login(2)));
    it.expect(wanted);
    it.refused(2, Refusal::BadCredentials, None);
    it.expect([
        answer(2, Err(LoginError::Rejected(Refusal::BadCredentials))),
        refusal_failed(Refusal::BadCredentials),
        emit(Event::Unregistered),
    ]);
}

#[test]
fn a_newer_login_takes_the_place_of_one_whose_token_is_being_stored() {
    let mut it = Machine::logged_in();
    it.frame(1, &DownFrame::Token(token("first")));
    it.drain();
    it.login(2);
    let mut wanted =
        vec![answer(1, FOR_NEWER), disconnect(1, CloseCode::Normal), lost(LostReason::Local)];
    wanted.extend(dial(2, by_login(2)));
    it.expect(wanted);
    it.stored();
    it.expect([]);
    assert_eq!(it.held_token(), Some("first"));
}

#[test]
fn credentials_that_are_too_long_are_answered_and_disturb_nothing() {
    let long = || Credentials::new().with("password", "x".repeat(5_000));
    for mut it in [Machine::connected(), Machine::dialing(), Machine::unregistered()] {
        let state = it.core.state();
        it.core.handle_login(it.now, LoginId(9), long());
        let [Did::Else(fedecks_device_core::Action::AnswerLogin { login, result })] =
            &it.drain()[..]
        else {
            panic!("one answer and nothing else");
        };
        assert_eq!(*login, LoginId(9));
        assert!(
            matches!(result, Err(LoginError::Invalid(AuthError::TooLong { .. }))),
            "{result:?}"
        );
        assert_eq!(it.core.state(), state);
    }
}

#[test]
fn credentials_that_are_too_long_do_not_give_up_the_login_that_waits() {
    let mut it = Machine::logging_in();
    it.core.handle_login(it.now, LoginId(9), Credentials::new().with("p", "x".repeat(5_000)));
    assert_eq!(it.drain().len(), 1);
    it.welcomed(1);
    it.frame(1, &DownFrame::Token(token("new")));
    it.stored();
    assert_eq!(it.drain().last(), Some(&answer(1, Ok(LoggedIn { persisted: true }))));
}

#[test]
fn a_logout_forgets_the_token_and_ends_what_there_is() {
    let mut it = Machine::connected();
    it.logout(1);
    it.expect([
        disconnect(1, CloseCode::Normal),
        lost(LostReason::Local),
        forget(),
        emit(Event::Unregistered),
    ]);
    assert_eq!(it.held_token(), None);
    assert_eq!(it.core.poll_timeout(), None);

    let mut it = Machine::dialing();
    it.logout(1);
    it.expect([
        disconnect(1, CloseCode::Normal),
        failed(FailReason::GivenUp),
        forget(),
        emit(Event::Unregistered),
    ]);
    assert_eq!(it.core.poll_timeout(), None);

    for mut it in [Machine::backing_off(), Machine::unregistered()] {
        it.logout(1);
        it.expect([forget(), emit(Event::Unregistered)]);
        assert_eq!(it.core.poll_timeout(), None);
    }
}

#[test]
fn a_logout_answers_the_login_that_waits() {
    let mut it = Machine::logging_in();
    it.logout(1);
    it.expect([
        answer(1, FOR_LOGOUT),
        disconnect(1, CloseCode::Normal),
        failed(FailReason::GivenUp),
        forget(),
        emit(Event::Unregistered),
    ]);
}

#[test]
fn a_token_on_its_way_to_the_disk_does_not_outlive_a_logout() {
    let mut it = Machine::logged_in();
    it.frame(1, &DownFrame::Token(token("new")));
    it.expect([store("new")]);
    it.logout(1);
    it.expect([
        answer(1, FOR_LOGOUT),
        disconnect(1, CloseCode::Normal),
        lost(LostReason::Local),
        emit(Event::Unregistered),
    ]);
    it.stored();
    it.expect([forget()]);
    it.stored();
    it.expect([answer_logout(1, Ok(()))]);
}

#[test]
fn a_logout_is_answered_with_what_became_of_the_token_on_disk() {
    for result in [Ok(()), Err("read-only".to_owned())] {
        let mut it = Machine::connected();
        it.logout(1);
        it.logout(2);
        it.drain();
        it.stored();
        it.expect([forget()]);
        it.core.handle_stored(it.now, result.clone());
        let failed = result.is_err().then(store_failed);
        let answers = [answer_logout(1, result.clone()), answer_logout(2, result)];
        it.expect(failed.into_iter().chain(answers));
        // What is tried again answers nobody any more.
        it.run_for(secs(1));
        it.drain();
        it.stored();
        it.expect([]);
    }
}

#[test]
fn a_token_from_the_store_that_comes_after_a_logout_is_not_taken() {
    let mut it = Machine::new();
    it.logout(1);
    it.drain();
    it.core.handle_loaded(it.now, Ok(Some(token("stored"))));
    it.expect([]);
    assert_eq!(it.held_token(), None);
}

#[test]
fn a_login_survives_the_revocation_of_the_tokens_before() {
    let mut it = Machine::set_aside();
    it.login(1);
    it.welcomed(2);
    it.drain();
    it.closed(2, CloseReason::new(CloseCode::Revoked));
    it.expect_wait(
        [forget(), lost(LostReason::Closed(CloseReason::new(CloseCode::Revoked)))],
        LONGEST,
    );
    it.expect_dial_after_wait(3, by_login(1));
}

fn rejections() -> impl Iterator<Item = Refusal> {
    Refusal::ALL
        .into_iter()
        .filter(|refusal| !matches!(refusal, Refusal::RateLimited | Refusal::Unavailable))
}
