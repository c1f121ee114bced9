//! The frozen bytes of the frames about requests, and what they may contain.

use fedecks_protocol::{
    DecodeError, EncodeError, Limits, NoReplyReason, RequestFrame, RequestId, Term,
    UndecodableContent, UpFrame,
};

use crate::fixtures::Fixture;
use crate::{DIALECT, bytes, down, up};

/// Those from the device.
pub(crate) fn up_fixtures() -> Vec<Fixture<RequestFrame>> {
    vec![
        (
            r#"Request 1, timeout 30000, tuple ("hello", "matey")"#,
            request(1, 30_000, &Term::Tuple(vec![Term::from("hello"), Term::from("matey")])),
            "06 01 fb 30 75 09 02 05 05 68 65 6c 6c 6f 05 05 6d 61 74 65 79",
        ),
        ("Reply to 9, true", reply(9, &Term::Bool(true)), "05 09 02"),
        (
            r#"NoReply to 9, reason 3, "out of paper""#,
            RequestFrame::no_reply(RequestId(9), NoReplyReason::Failed, "out of paper"),
            "28 09 03 0c 6f 75 74 20 6f 66 20 70 61 70 65 72",
        ),
        ("Cancel 300", RequestFrame::Cancel { request: RequestId(300) }, "29 fb 2c 01"),
    ]
}

/// Those from the cloud.
pub(crate) fn down_fixtures() -> Vec<Fixture<RequestFrame>> {
    vec![
        (
            r#"Request 18446744073709551615, timeout 600000, atom "reboot""#,
            request(u64::MAX, 600_000, &Term::Atom("reboot".into())),
            "06 fd ff ff ff ff ff ff ff ff fc c0 27 09 00 07 06 72 65 62 6f 6f 74",
        ),
        (r#"Reply to 1, int 1"#, reply(1, &Term::Int(1)), "05 01 03 02"),
        (
            r#"NoReply to 1, reason 1, """#,
            RequestFrame::no_reply(RequestId(1), NoReplyReason::Unhandled, ""),
            "28 01 01 00",
        ),
        ("Cancel 7", RequestFrame::Cancel { request: RequestId(7) }, "29 07"),
    ]
}

fn request(id: u64, timeout_ms: u64, term: &Term) -> RequestFrame {
    let content = DIALECT.keep_term(term, &Limits::default()).unwrap();
    RequestFrame::Request { request: RequestId(id), timeout_ms, content }
}

fn reply(id: u64, term: &Term) -> RequestFrame {
    let content = DIALECT.keep_term(term, &Limits::default()).unwrap();
    RequestFrame::Reply { request: RequestId(id), content }
}

#[test]
fn a_frame_about_requests_is_the_same_both_ways() {
    for (name, frame, hex) in [up_fixtures(), down_fixtures()].concat() {
        assert_eq!(up(hex), Ok(UpFrame::Request(frame.clone())), "{name}");
        assert_eq!(down(hex), Ok(fedecks_protocol::DownFrame::Request(frame)), "{name}");
    }
}

#[test]
fn a_frame_about_requests_that_ends_early_is_undecodable() {
    for (name, _, hex) in up_fixtures() {
        for length in (2..hex.len()).step_by(3) {
            assert_eq!(up(&hex[..length]), Err(DecodeError::Truncated), "{name}");
        }
    }
}

#[test]
fn undecodable_content_can_be_answered() {
    let undecodable = |hex: &str| {
        assert!(up(hex).is_err() && down(hex).is_err(), "{hex}");
        DIALECT.undecodable_request(&bytes(hex), &Limits::default())
    };
    let (one, two) = (RequestId(1), RequestId(2));
    for content in ["0b", "05 02 c3 28", "00 00", "", "05 05"] {
        let request = undecodable(&format!("06 01 0a {content}"));
        assert_eq!(request, Some(UndecodableContent::Request(one)), "{content}");
        let reply = undecodable(&format!("05 02 {content}"));
        assert_eq!(reply, Some(UndecodableContent::Reply(two)), "{content}");
    }
    // The number cannot be read, or it is another kind of frame.
    for hex in ["06", "06 01", "05", "05 fe", "28 01", "29", "01 00 0b", "22 01 01 01 00 00 0b"] {
        assert_eq!(undecodable(hex), None, "{hex}");
    }
}

#[test]
fn the_text_of_no_reply_is_cut() {
    let cut = |text: &str| {
        let frame = RequestFrame::no_reply(RequestId(1), NoReplyReason::Failed, text);
        let RequestFrame::NoReply { text, .. } = frame else { panic!("not NoReply: {frame:?}") };
        text
    };
    assert_eq!(cut(&"x".repeat(1_024)).len(), 1_024);
    assert_eq!(cut(&"x".repeat(1_025)).len(), 1_024);
    assert_eq!(cut(&"ä".repeat(600)), "ä".repeat(512));
    assert_eq!(cut(&format!("x{}", "ä".repeat(600))), format!("x{}", "ä".repeat(511)));
    // Of an end that does not cut it.
    let long = format!("28 01 03 fb 04 04 {}", "61 ".repeat(1_028));
    let expected = RequestFrame::no_reply(RequestId(1), NoReplyReason::Failed, &"a".repeat(1_024));
    assert_eq!(up(&long), Ok(UpFrame::Request(expected)));
    let (request, reason) = (RequestId(1), NoReplyReason::Failed);
    let text = "x".repeat(2_000);
    let frame = UpFrame::Request(RequestFrame::NoReply { request, reason, text });
    let encoded = DIALECT.encode_up(&frame, &Limits::default()).unwrap();
    assert_eq!(encoded.len(), 1_024 + 6);
}

#[test]
fn every_reason_has_its_number() {
    for number in 0..300 {
        let reason = NoReplyReason::from_number(number);
        assert_eq!(reason.number(), number);
        assert_eq!(reason == NoReplyReason::Other(number), !(1..=4).contains(&number));
    }
}

#[test]
fn the_content_has_the_limits_of_a_message() {
    let frame = UpFrame::Request(reply(1, &Term::List(vec![Term::Nil; 100])));
    let narrow = |max_decoded| Limits { max_decoded, ..Limits::default() };
    let encoded = DIALECT.encode_up(&frame, &narrow(3_248)).unwrap();
    let (weight, limit) = (3_248, 3_247);
    let error = EncodeError::TooHeavy { weight, limit };
    assert_eq!(DIALECT.encode_up(&frame, &narrow(3_247)), Err(error));
    assert_eq!(DIALECT.decode_up(&encoded, &narrow(3_248)), Ok(frame));
    let error = DecodeError::TooHeavy { weight, limit };
    assert_eq!(DIALECT.decode_up(&encoded, &narrow(3_247)), Err(error));
}
