use std::thread;

use fedecks_protocol::{
    AuthRequest, CloseReason, Credentials, DeviceId, Dialect, Limits, Refusal, Term, Token,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::strategies::{DIALECT, WIDEST, auth_request, down_frame, nested, term, up_frame};

/// Parses bytes as everything that an end parses. Only panics matter, not results.
fn read(bytes: &[u8]) {
    for limits in [WIDEST, Limits::default(), Limits { max_size: 100, max_depth: 3 }] {
        let _ = DIALECT.decode_up(bytes, &limits);
        let _ = DIALECT.decode_down(bytes, &limits);
        if let Ok(term) = DIALECT.decode_term(bytes, &limits) {
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

/// A change to valid bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
    Remove(Index),
    Repeat(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let marker = prop_oneof![any::<u8>(), 0_u8..=11, 250_u8..=255];
    prop_oneof![
        (any::<Index>(), marker).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, more)| Mutation::Insert(at, more)),
        any::<Index>().prop_map(Mutation::Cut),
        any::<Index>().prop_map(Mutation::Remove),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

fn mutated(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        if bytes.is_empty() {
            return bytes;
        }
        let length = bytes.len();
        match mutation {
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Mutation::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
            Mutation::Remove(at) => {
                bytes.remove(at.index(length));
            }
            Mutation::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend(part);
            }
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
        bytes in encoded(),
        mutations in vec(mutation(), 1..8),
    ) {
        read(&mutated(bytes, &mutations));
    }

    #[test]
    fn a_truncated_term_is_not_a_term(term in term(), at in any::<Index>()) {
        let bytes = DIALECT.encode_term(&term, &WIDEST).unwrap();
        prop_assert!(DIALECT.decode_term(&bytes[..at.index(bytes.len())], &WIDEST).is_err());
    }

    #[test]
    fn what_is_decoded_can_be_encoded(bytes in encoded(), mutations in vec(mutation(), 0..4)) {
        let bytes = mutated(bytes, &mutations);
        if let Ok(term) = DIALECT.decode_term(&bytes, &WIDEST) {
            let again = DIALECT.encode_term(&term, &WIDEST).unwrap();
            prop_assert!(again.len() <= bytes.len(), "the shortest form is written");
        }
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
