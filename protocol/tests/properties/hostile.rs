use std::thread;

use fedecks_protocol::{
    AuthRequest, CloseReason, Content, Credentials, DeliveryFrame, DeviceId, Dialect, DownFrame,
    EncodeError, Limits, Received, Refusal, Term, Token, UpFrame,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::strategies::{
    DIALECT, WIDEST, auth_request, delivery, down_frame, exact, nested, term, up_frame,
};

/// Parses bytes as everything that an end parses. Only panics matter, not results.
fn read(bytes: &[u8]) {
    let narrow = Limits { max_size: 100, max_depth: 3, max_decoded: 200 };
    for limits in [WIDEST, Limits::default(), narrow] {
        read_up(bytes, &limits);
        read_down(bytes, &limits);
        if let Some(term) = read_term(bytes, &limits) {
            let _ = Credentials::from_term(term);
        }
    }
    let _ = AuthRequest::from_header(bytes, DIALECT, 4_096);
    let encoded = data_encoding::BASE64.encode(bytes);
    let _ = AuthRequest::from_header(encoded.as_bytes(), DIALECT, 4_096);
    let text = String::from_utf8_lossy(bytes);
    let _ = Dialect::from_subprotocols(&text);
    let _ = Refusal::from_response(403, Some(&text));
    let _ = CloseReason::parse(1012, &text);
    let _ = DeviceId::new(&text);
    let _ = Token::new(&text);
}

/// A message that is kept encoded is valid exactly if it can be decoded, and becomes the same term.
fn read_down(bytes: &[u8], limits: &Limits) {
    let decoded = DIALECT.decode_down(bytes, limits);
    match DIALECT.receive_down(bytes, limits) {
        Ok(Received::Message(message)) => {
            assert!(matches!(decoded, Ok(DownFrame::Message { .. })), "{decoded:?}");
            if let Ok(DownFrame::Message { term, .. }) = decoded {
                assert_eq!(message.weight(), term.weight());
                assert_eq!(message.decode().map(|again| exact(&again)), Ok(exact(&term)));
            }
        }
        Ok(Received::Frame(frame)) => {
            assert!(!matches!(frame, DownFrame::Message { .. }));
            assert!(decoded.is_ok());
        }
        Err(error) => assert_eq!(decoded.err(), Some(error)),
    }
}

fn read_up(bytes: &[u8], limits: &Limits) {
    if let Ok(UpFrame::Delivery(frame)) = DIALECT.decode_up(bytes, limits) {
        check_content(&frame, limits);
        let down = DIALECT.decode_down(bytes, limits);
        assert_eq!(down, Ok(DownFrame::Delivery(frame)), "the same bytes both ways");
    }
}

/// The term of a kept message, which is not decoded yet, is valid.
fn check_content(frame: &DeliveryFrame, limits: &Limits) {
    if let DeliveryFrame::Kept(kept) = frame {
        assert!(kept.content.weight() <= limits.max_decoded);
        if let Content::Term(encoded) = &kept.content {
            let term = encoded.decode().unwrap();
            assert_eq!(encoded.weight(), term.weight());
            let again = read_term(encoded.as_bytes(), limits);
            assert_eq!(again.as_ref().map(exact), Some(exact(&term)));
        }
    }
}

/// A term that is only checked is valid exactly if it can be decoded, and becomes the same term.
fn read_term(bytes: &[u8], limits: &Limits) -> Option<Term> {
    let checked = DIALECT.check_term(bytes, limits);
    match DIALECT.decode_term(bytes, limits) {
        Ok(term) => {
            let checked = checked.unwrap();
            assert_eq!((checked.as_bytes(), checked.size()), (bytes, bytes.len()));
            assert_eq!(checked.weight(), term.weight());
            assert_eq!(checked.decode().map(|again| exact(&again)), Ok(exact(&term)));
            Some(term)
        }
        Err(error) => {
            assert_eq!(checked.err(), Some(error));
            None
        }
    }
}

/// What to do with valid bytes, where, up to where, and with which bytes.
type Mutation = (&'static str, Index, Index, Vec<u8>);

fn mutation() -> impl Strategy<Value = Mutation> {
    let change = select(vec!["set", "flip", "insert", "truncate", "remove", "repeat"]);
    let markers = prop_oneof![any::<u8>(), 0_u8..=11, 250_u8..=255];
    (change, any::<Index>(), any::<Index>(), vec(markers, 1..20))
}

fn mutated(mut bytes: Vec<u8>, mutations: Vec<Mutation>) -> Vec<u8> {
    for (change, at, to, more) in mutations {
        if bytes.is_empty() {
            return bytes;
        }
        let (at, to) = (at.index(bytes.len()), to.index(bytes.len()));
        match change {
            "set" => bytes[at] = more[0],
            "flip" => bytes[at] ^= 1 << (more[0] % 8),
            "insert" => drop(bytes.splice(at..at, more)),
            "truncate" => bytes.truncate(at),
            "remove" => drop(bytes.drain(at..=at)),
            _ => bytes.extend_from_within(at.min(to)..at.max(to)),
        }
    }
    bytes
}

fn encoded() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        term().prop_map(|term| DIALECT.encode_term(&term, &WIDEST).unwrap_or_default()),
        up_frame().prop_map(|frame| DIALECT.encode_up(&frame, &WIDEST).unwrap_or_default()),
        down_frame().prop_map(|frame| DIALECT.encode_down(&frame, &WIDEST).unwrap_or_default()),
        auth_request()
            .prop_map(|request| request.to_header(DIALECT).unwrap_or_default().into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..600)) {
        read(&bytes);
    }

    #[test]
    fn any_small_numbers_are_read_without_a_panic(bytes in vec(0_u8..=17, 0..200)) {
        read(&bytes);
    }

    #[test]
    fn damaged_bytes_are_read_without_a_panic(
        bytes in encoded(), mutations in vec(mutation(), 1..8)
    ) {
        read(&mutated(bytes, mutations));
    }

    #[test]
    fn a_truncated_term_is_not_a_term(term in term(), at in any::<Index>()) {
        let bytes = DIALECT.encode_term(&term, &WIDEST).unwrap();
        prop_assert!(DIALECT.decode_term(&bytes[..at.index(bytes.len())], &WIDEST).is_err());
    }

    #[test]
    fn what_is_decoded_can_be_encoded(bytes in encoded(), mutations in vec(mutation(), 0..4)) {
        let bytes = mutated(bytes, mutations);
        if let Ok(term) = DIALECT.decode_term(&bytes, &WIDEST) {
            let again = DIALECT.encode_term(&term, &WIDEST).unwrap();
            prop_assert!(again.len() <= bytes.len(), "the shortest form is written");
        }
        if let Ok(frame) = DIALECT.decode_up(&bytes, &WIDEST) {
            let again = DIALECT.encode_up(&frame, &WIDEST);
            if let UpFrame::Unknown { .. } = frame {
                prop_assert_eq!(again, Err(EncodeError::UnknownFrame));
            } else {
                prop_assert!(again.unwrap().len() <= bytes.len());
            }
        }
        if let Ok(frame) = DIALECT.decode_down(&bytes, &WIDEST) {
            let again = DIALECT.encode_down(&frame, &WIDEST);
            if let DownFrame::Unknown { .. } = frame {
                prop_assert_eq!(again, Err(EncodeError::UnknownFrame));
            } else {
                prop_assert!(again.unwrap().len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_shortened_frame_about_kept_messages_is_another_or_none(
        frame in delivery(), at in any::<Index>(),
    ) {
        let bytes = DIALECT.encode_up(&UpFrame::Delivery(frame.clone()), &WIDEST).unwrap();
        let cut = DIALECT.decode_up(&bytes[..at.index(bytes.len())], &WIDEST);
        // Raw bytes may end anywhere.
        let is_raw = matches!(&frame, DeliveryFrame::Kept(kept) if kept.content.is_raw());
        prop_assert!(cut.is_err() || is_raw, "{:?}", cut);
        prop_assert!(cut != Ok(UpFrame::Delivery(frame)));
    }

    #[test]
    fn damaged_frames_about_kept_messages_are_read_without_a_panic(
        frame in delivery(), mutations in vec(mutation(), 1..4)
    ) {
        let bytes = DIALECT.encode_up(&UpFrame::Delivery(frame), &WIDEST).unwrap();
        read(&mutated(bytes, mutations));
    }
}

/// The deepest term needs only the stack of a small embedded thread, even in a debug build, whose stack
/// frames are several times as large as those of a release build.
#[test]
fn the_deepest_term_needs_only_a_small_stack() {
    let deepest = nested(usize::from(Limits::MAX_DEPTH) - 1, Term::Nil);
    let bytes = DIALECT.encode_term(&deepest, &WIDEST).unwrap();
    // Only lists, one more than allowed: decoding fails at the deepest point.
    let too_deep = [8, 1].repeat(usize::from(Limits::MAX_DEPTH) + 1);
    thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(move || {
            let decoded = DIALECT.decode_term(&bytes, &WIDEST).unwrap();
            assert_eq!(DIALECT.encode_term(&decoded, &WIDEST).unwrap(), bytes);
            assert_eq!(decoded, deepest);
            assert!(DIALECT.decode_term(&too_deep, &WIDEST).is_err());
        })
        .unwrap()
        .join()
        .unwrap();
}
