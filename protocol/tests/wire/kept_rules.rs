//! What frames about kept messages may contain, beyond the fixtures.

use fedecks_protocol::{
    Capabilities, DecodeError, DeliveryFrame, DownFrame, EncodeError, InvalidTag, Kept, Lane,
    Limits, Resume, Skip, SkipReason, StreamId, Tag, UpFrame,
};

use crate::fixtures::{self, Fixture};
use crate::{DIALECT, bytes, down, kept, up};

/// The frame of both directions, whose bytes are the same.
fn delivery(hex: &str) -> Result<DeliveryFrame, DecodeError> {
    let decoded = down(hex).map(|frame| {
        let DownFrame::Delivery(delivery) = frame else { return None };
        Some(delivery)
    });
    let decoded = decoded.map(Option::unwrap);
    assert_eq!(up(hex), decoded.clone().map(UpFrame::Delivery));
    decoded
}

fn malformed<T>(why: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Malformed(why))
}

const BEYOND: &str = "a number above the highest of a stream";

#[test]
fn a_frame_about_kept_messages_is_the_same_both_ways() {
    for (name, frame, hex) in [kept::up(), kept::down()].concat() {
        assert_eq!(delivery(hex), Ok(frame), "{name}");
    }
}

/// Except where it ends with raw bytes, of which there may be none.
#[test]
fn a_frame_that_ends_early_is_undecodable() {
    fn check<T: std::fmt::Debug>(
        fixtures: Vec<Fixture<T>>,
        decode: fn(&str) -> Result<T, DecodeError>,
    ) {
        let kept = |it: &Fixture<T>| it.2.starts_with("04") || it.2.starts_with('2');
        for (name, _, hex) in fixtures.into_iter().filter(kept) {
            let raw = if name.contains("flags 3") { " de ad be ef".len() } else { 0 };
            for length in (2..hex.len() - raw).step_by(3) {
                let decoded = decode(&hex[..length]);
                assert!(matches!(decoded, Err(DecodeError::Truncated)), "{name}: {decoded:?}");
            }
        }
    }
    check(fixtures::up(), up);
    check(fixtures::down(), down);
}

#[test]
fn numbers_of_messages_count_from_1_to_the_highest() {
    let stream = "00 ".repeat(16);
    let highest = "fd ff ff ff ff ff ff ff 7f";
    let beyond = "fd 00 00 00 00 00 00 00 80";
    let zero = "a message with the number 0";
    for (number, expected) in [("00", Some(zero)), (highest, None), (beyond, Some(BEYOND))] {
        let resume = delivery(&format!("21 01 00 {stream} {number} {highest}"));
        let kept = delivery(&format!("22 01 {number} 01 00 00 00"));
        let skip_from = delivery(&format!("23 01 {number} {highest} 01"));
        let skip_to = delivery(&format!("23 01 01 {number} 01"));
        for decoded in [resume, kept, skip_from, skip_to] {
            assert_eq!(decoded.as_ref().err(), expected.map(DecodeError::Malformed).as_ref());
        }
    }
    let newest = delivery(&format!("21 01 00 {stream} 01 {beyond}"));
    assert_eq!(newest, malformed(BEYOND));
    assert_eq!(bytes(highest)[1..], Limits::MAX_NUMBER.to_le_bytes());
}

#[test]
fn a_range_of_numbers_is_not_reversed() {
    let resume = |numbers| delivery(&format!("21 01 00 {}{numbers}", "00 ".repeat(16)));
    let (handle, lane, stream) = (1, Lane::Normal, StreamId([0; 16]));
    for (numbers, (oldest, newest)) in [("01 00", (1, 0)), ("05 04", (5, 4)), ("05 05", (5, 5))] {
        let expected = Resume { handle, lane, stream, oldest, newest };
        assert_eq!(resume(numbers), Ok(DeliveryFrame::Resume(expected)));
    }
    assert_eq!(resume("05 03"), malformed("the newest number is before the oldest"));
    let one = Skip { handle: 1, from: 5, to: 5, reason: SkipReason::Expired };
    assert_eq!(delivery("23 01 05 05 01"), Ok(DeliveryFrame::Skip(one)));
    assert_eq!(delivery("23 01 05 04 01"), malformed("the last number is before the first"));
}

#[test]
fn rejected_numbers_ascend_up_to_the_acknowledged_one() {
    let rejected = |hex: &str| {
        let frame = delivery(&format!("04 01 09 00 40 40 {hex}"))?;
        let DeliveryFrame::Ack(ack) = frame else { panic!("not an Ack: {frame:?}") };
        Ok(ack.rejected)
    };
    assert_eq!(rejected("00"), Ok(vec![]));
    assert_eq!(rejected("03 01 02 09"), Ok(vec![1, 2, 9]));
    for bad in ["01 00", "01 0a", "02 02 02", "02 03 02"] {
        assert_eq!(rejected(bad), malformed("rejected numbers that are not ascending"), "{bad}");
    }
    // More than there are bytes.
    for bad in ["01", "02 01", "fd ff ff ff ff ff ff ff ff 01"] {
        assert_eq!(rejected(bad), Err(DecodeError::Truncated), "{bad}");
    }
}

#[test]
fn every_lane_and_reason_has_its_number() {
    assert_eq!(Lane::ALL.map(Lane::number), [1, 0], "the urgent one goes first");
    for number in 0..300 {
        let lane = Lane::from_number(number);
        assert_eq!(lane.map(Lane::number), Some(number).filter(|number| *number < 2));
        let reason = SkipReason::from_number(number);
        assert_eq!(reason.number(), number);
        let is_known = (1..=8).contains(&number);
        assert_eq!(reason == SkipReason::Other(number), !is_known, "{reason:?}");
    }
    let unknown = format!("21 01 02 {} 01 00", "00 ".repeat(16));
    assert_eq!(delivery(&unknown), malformed("not a lane"));
    let reason = SkipReason::Other(9);
    let skip = Skip { handle: 1, from: 1, to: 2, reason };
    assert_eq!(delivery("23 01 01 02 09"), Ok(DeliveryFrame::Skip(skip)));
}

#[test]
fn unknown_flags_and_capabilities_are_ignored() {
    // 0xfc: all flags except redelivered and raw, in two bytes.
    let Ok(DeliveryFrame::Kept(kept)) = delivery("22 01 01 01 00 fb fc ff 02") else {
        panic!("not decoded");
    };
    assert!(!kept.redelivered && !kept.content.is_raw());
    let all = Capabilities(u64::MAX);
    assert_eq!(up("20 fd ff ff ff ff ff ff ff ff"), Ok(UpFrame::Hello(all)));
    assert!(all.contains(Capabilities::ALL));
    assert_eq!(all.and(Capabilities::ALL), Capabilities::ALL);
    assert!(!Capabilities::KEEP_ALIVE.contains(Capabilities::ALL));
}

#[test]
fn the_content_of_a_kept_message_is_one_valid_term_or_raw() {
    let kept = |flags_and_content: &str| delivery(&format!("22 01 01 01 00 {flags_and_content}"));
    assert_eq!(kept("00 0b"), Err(DecodeError::UnknownTerm(11)));
    assert_eq!(kept("00 05 02 c3 28"), malformed("a text is not UTF-8"));
    assert_eq!(kept("00 00 00"), Err(DecodeError::Trailing(1)));
    assert_eq!(kept("00"), Err(DecodeError::Truncated));
    for flags_and_content in ["02 0b", "02 05 02 c3 28", "02"] {
        let Ok(DeliveryFrame::Kept(Kept { content, .. })) = kept(flags_and_content) else {
            panic!("not decoded: {flags_and_content}");
        };
        assert_eq!(content.as_bytes(), &bytes(flags_and_content)[1..]);
    }
}

#[test]
fn raw_content_weighs_its_length_and_16() {
    let encoded = bytes("22 01 01 01 00 02 de ad be ef");
    let exact = Limits { max_decoded: 20, ..Limits::default() };
    let less = Limits { max_decoded: 19, ..Limits::default() };
    let frame = DIALECT.decode_up(&encoded, &exact).unwrap();
    assert_eq!(DIALECT.encode_up(&frame, &exact), Ok(encoded.clone()));
    let (weight, limit) = (20, 19);
    assert_eq!(DIALECT.decode_up(&encoded, &less), Err(DecodeError::TooHeavy { weight, limit }));
    let error = EncodeError::TooHeavy { weight, limit };
    assert_eq!(DIALECT.encode_up(&frame, &less), Err(error));
}

#[test]
fn the_id_of_a_message_is_16_digits() {
    assert_eq!(Tag(0xfe).to_string(), "00000000000000fe");
    assert_eq!("00000000000000fe".parse(), Ok(Tag(0xfe)));
    for text in ["", "fe", "00000000000000FE", "+0000000000000fe", "000000000000000fe"] {
        assert_eq!(text.parse::<Tag>(), Err(InvalidTag), "{text}");
    }
}
