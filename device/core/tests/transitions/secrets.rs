//! No secret appears in the `Debug` output of anything that could be logged.

use std::fmt::Debug;

use crate::machine::*;

/// Lower case, so that it cannot be part of a number or a name by chance. Its base64 and its bytes are
/// searched for as well.
const SECRET: &str = "hunter2hunter2hunter2";

#[track_caller]
fn assert_hidden(value: &impl Debug) {
    let text = format!("{value:?} {value:#?}");
    let bytes = format!("{:?}", SECRET.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    // The header is base64; wherever the secret starts in it, one of these is part of it.
    let in_base64 = ["aHVudGVyMm", "h1bnRlcjJo", "odW50ZXIyaH"];
    for secret in [SECRET, bytes].into_iter().chain(in_base64) {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// Checks the connection and each of its actions, before and after they are taken.
#[track_caller]
fn assert_all_hidden(it: &mut Machine) {
    assert_hidden(&it.core);
    while let Some(action) = it.core.poll_action() {
        assert_hidden(&action);
    }
    assert_hidden(&it.core);
}

#[test]
fn a_token_stays_hidden() {
    let mut it = Machine::new();
    it.loaded(Ok(Some(token(SECRET)))).keep_next_deadline();
    assert_all_hidden(&mut it);
    it.welcomed(1).issued(1, SECRET).issued(1, SECRET);
    assert_all_hidden(&mut it);
    it.not_stored().not_stored();
    assert_all_hidden(&mut it);
}

#[test]
fn credentials_stay_hidden_in_every_state_of_a_login() {
    for prefix in ["", "x", "xx"] {
        let mut it = Machine::unregistered();
        let credentials = || Credentials::new().with("password", format!("{prefix}{SECRET}"));
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
fn messages_stay_hidden_in_both_directions() {
    let mut it = Machine::connected();
    let bytes = || SECRET.as_bytes().to_vec();
    let term = || Term::List(vec![Term::from(SECRET), Term::Bytes(bytes())]);
    it.frame(1, &DownFrame::Message { sequence: None, term: term() });
    it.frame(1, &DownFrame::Raw { sequence: None, bytes: bytes() });
    assert_all_hidden(&mut it);
    let raw = UpFrame::Raw { sequence: None, bytes: bytes() };
    for frame in [UpFrame::Message { sequence: None, term: term() }, raw] {
        it.core.handle_send(it.now, SendId(1), &frame, false);
        assert_all_hidden(&mut it);
        assert_eq!(it.send(&frame), Ok(()));
    }
}

#[test]
fn undecodable_frames_stay_hidden() {
    let mut it = Machine::connected();
    let frame = DownFrame::Message { sequence: None, term: Term::from(SECRET) };
    let bytes = Dialect::Bincode.encode_down(&frame, &Limits::default()).unwrap();
    for end in 0..bytes.len() {
        it.bytes(1, &bytes[..end]);
    }
    it.bytes(1, &[&bytes, SECRET.as_bytes()].concat()).bytes(1, SECRET.as_bytes()).run_for(secs(1));
    assert_all_hidden(&mut it);
}

#[test]
fn the_search_finds_what_is_not_hidden() {
    for shown in [SECRET.to_owned(), format!("{:?}", SECRET.as_bytes())] {
        assert!(std::panic::catch_unwind(|| assert_hidden(&shown)).is_err());
    }
}
