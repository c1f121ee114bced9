//! What is secret stands in no `Debug` output of anything that could be logged.

use std::fmt::Debug;

use fedecks_device_core::{Attempt, LoginId, SendId};
use fedecks_protocol::{
    Credentials, Dialect, DownFrame, IssuedToken, Limits, Term, Token, UpFrame,
};

use crate::machine::{Machine, secs};

/// Lower case so that it could hide in no number or name; its base64 and its bytes are looked for
/// as well.
const SECRET: &str = "hunter2hunter2hunter2";

#[track_caller]
fn assert_hidden(value: &impl Debug) {
    let text = format!("{value:?} {value:#?}");
    let bytes = format!("{:?}", SECRET.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    // The header is base64; wherever the secret begins in it, one of these is a part of it.
    let in_base64 = ["aHVudGVyMm", "h1bnRlcjJo", "odW50ZXIyaH"];
    for secret in [SECRET, bytes].into_iter().chain(in_base64) {
        assert!(!text.contains(secret), "{secret} stands in {text}");
    }
}

/// Looks at the connection and at each action that it holds, before and after they are taken.
#[track_caller]
fn assert_all_hidden(it: &mut Machine) {
    assert_hidden(&it.core);
    while let Some(action) = it.core.poll_action() {
        assert_hidden(&action);
    }
    assert_hidden(&it.core);
}

fn secret_token() -> IssuedToken {
    IssuedToken { token: Token::new(SECRET).unwrap(), expires_at: 1 }
}

#[test]
fn a_token_stays_hidden() {
    let mut it = Machine::new();
    it.core.handle_loaded(it.now, Ok(Some(secret_token())));
    it.keep_next_deadline();
    assert_all_hidden(&mut it);
    it.welcomed(1);
    it.frame(1, &DownFrame::Token(secret_token()));
    it.frame(1, &DownFrame::Token(secret_token()));
    assert_all_hidden(&mut it);
    it.not_stored();
    it.not_stored();
    assert_all_hidden(&mut it);
}

#[test]
fn credentials_stay_hidden_in_each_place_that_they_pass() {
    for lead in ["", "x", "xx"] {
        let mut it = Machine::unregistered();
        let credentials = || Credentials::new().with("password", format!("{lead}{SECRET}"));
        assert_hidden(&credentials());
        it.core.handle_login(it.now, LoginId(1), credentials());
        assert_all_hidden(&mut it);
        it.welcomed(1);
        assert_all_hidden(&mut it);
        let long = credentials().with("more", SECRET.repeat(500));
        it.core.handle_login(it.now, LoginId(2), long);
        assert_all_hidden(&mut it);
    }
}

#[test]
fn messages_stay_hidden_both_ways() {
    let mut it = Machine::connected();
    let term = || Term::List(vec![Term::from(SECRET), Term::Bytes(SECRET.as_bytes().to_vec())]);
    it.frame(1, &DownFrame::Message { sequence: None, term: term() });
    it.frame(1, &DownFrame::Raw { sequence: None, bytes: SECRET.as_bytes().to_vec() });
    assert_all_hidden(&mut it);
    let raw = UpFrame::Raw { sequence: None, bytes: SECRET.as_bytes().to_vec() };
    for frame in [UpFrame::Message { sequence: None, term: term() }, raw] {
        it.core.handle_send(it.now, SendId(1), &frame);
        assert_all_hidden(&mut it);
        assert_eq!(it.send(&frame), Ok(()));
    }
}

#[test]
fn frames_that_cannot_be_read_stay_hidden() {
    let mut it = Machine::connected();
    let frame = DownFrame::Message { sequence: None, term: Term::from(SECRET) };
    let whole = Dialect::Bincode.encode_down(&frame, &Limits::default()).unwrap();
    for end in 0..whole.len() {
        it.core.handle_message(it.now, Attempt(1), &whole[..end]);
    }
    let mut trailing = whole.clone();
    trailing.extend(SECRET.bytes());
    it.core.handle_message(it.now, Attempt(1), &trailing);
    it.core.handle_message(it.now, Attempt(1), SECRET.as_bytes());
    it.run_for(secs(1));
    assert_all_hidden(&mut it);
}

#[test]
fn the_search_finds_what_is_not_hidden() {
    for shown in [SECRET.to_owned(), format!("{:?}", SECRET.as_bytes())] {
        assert!(std::panic::catch_unwind(|| assert_hidden(&shown)).is_err());
    }
}
