//! Decoding allocates at no moment more than the limit of what is decoded, nor more than 32 bytes per byte of
//! input, whatever the input is.
//!
//! The calculation: a term counts 32 bytes, an entry of a map 64; on the wire a term takes at least one
//! byte, an entry two. A container is allocated at once, after the number of its items was compared with the
//! rest of the input, without what the containers around it need, and with the budget. Texts and bytes take
//! their size on the wire.
#![expect(unsafe_code, reason = "a global allocator is counted by wrapping one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fedecks_protocol::{
    AuthRequest, Budget, DecodeError, DeliveryFrame, Dialect, DownFrame, JsonReader, Limits,
    Refusal, Term, UpFrame,
};
use proptest::prelude::*;
use serde::de::DeserializeSeed;

const DIALECT: Dialect = Dialect::Bincode;

const WIDEST: Limits =
    Limits { max_size: Limits::MAX_SIZE, max_depth: Limits::MAX_DEPTH, max_decoded: usize::MAX };

/// A budget that most inputs here exceed.
const NARROW: Limits = Limits { max_decoded: 10_000, ..WIDEST };

const NIL: u8 = 0;
const LIST: u8 = 8;
const TUPLE: u8 = 9;
const MAP: u8 = 10;
/// The fields of a kept message, of a raw one and of an acknowledgement, up to where their size is open.
const HEADS: [&[u8]; 3] =
    [&[0x22, 1, 1, 1, 0, 0], &[0x22, 1, 1, 1, 0, 2], &[0x04, 1, 250, 1, 1, 1]];

const CONTAINERS: [u8; 3] = [LIST, TUPLE, MAP];

/// Counts the allocations of each thread. `realloc` is the trait's default, which allocates before it
/// frees: the worst case.
struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get() + layout.size();
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: the caller upholds alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Memory from another thread may be freed here.
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller upholds dealloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The peak memory of `decode`, in bytes.
fn held_by<T>(decode: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.get();
    PEAK.set(before);
    let decoded = decode();
    (PEAK.get() - before, decoded)
}

fn assert_bounded(size: usize, held: usize, limits: &Limits) {
    let bound = limits.max_decoded.min(32 * size);
    assert!(held <= bound, "decoding {size} bytes took {held}, the bound is {bound}");
}

/// Decodes bytes as anything that they can be. Returns the term.
fn decode_bounded(bytes: &[u8]) -> Result<Term, DecodeError> {
    let message = [&[0x01, 0x00], bytes].concat();
    for limits in [NARROW, Limits::default()] {
        let _ = decode_within(bytes, &message, &limits);
    }
    decode_within(bytes, &message, &WIDEST)
}

fn decode_within(bytes: &[u8], message: &[u8], limits: &Limits) -> Result<Term, DecodeError> {
    let (held, term) = held_by(|| DIALECT.decode_term(bytes, limits));
    assert_bounded(bytes.len(), held, limits);
    assert_bounded(bytes.len(), held_by(|| DIALECT.decode_up(bytes, limits)).0, limits);
    assert_bounded(bytes.len(), held_by(|| DIALECT.decode_down(bytes, limits)).0, limits);
    assert_bounded(message.len(), held_by(|| DIALECT.decode_up(message, limits)).0, limits);
    for head in HEADS {
        let frame = [head, bytes].concat();
        assert_bounded(frame.len(), held_by(|| DIALECT.decode_up(&frame, limits)).0, limits);
        assert_bounded(frame.len(), held_by(|| DIALECT.receive_down(&frame, limits)).0, limits);
    }
    let (held, received) = held_by(|| DIALECT.receive_down(message, limits));
    assert!(held <= message.len(), "a message that waits takes {held}");
    assert_eq!(received.is_ok(), term.is_ok());
    if let Ok(term) = &term {
        assert!(term.weight() <= limits.max_decoded);
    }
    term
}

/// A kind of term, a length as the dialect encodes it, and the content.
fn prefixed(kind: u8, length: impl TryInto<u64>, content: &[u8]) -> Vec<u8> {
    let length: u64 = length.try_into().unwrap_or(u64::MAX);
    [&[kind], &encoded(length)[..], content].concat()
}

fn encoded(of: u64) -> Vec<u8> {
    match (u8::try_from(of), u16::try_from(of), u32::try_from(of)) {
        (Ok(short @ ..=250), _, _) => vec![short],
        (_, Ok(middle), _) => [&[251], &middle.to_le_bytes()[..]].concat(),
        (_, _, Ok(long)) => [&[252], &long.to_le_bytes()[..]].concat(),
        _ => [&[253], &of.to_le_bytes()[..]].concat(),
    }
}

#[test]
fn the_count_includes_both_allocations_of_a_growing_container() {
    let (held, grown) = held_by(|| {
        let mut grown = Vec::with_capacity(1_000);
        grown.resize(1_001, 0_u8);
        grown
    });
    assert_eq!(held, 1_000 + grown.capacity());
}

#[test]
fn a_length_beyond_the_input_allocates_nothing() {
    for kind in [5, 6, 7, 8, 9, 10] {
        for claimed in [1_000_u64, 70_000, 1 << 40, u64::MAX] {
            let bytes = prefixed(kind, claimed, &[NIL; 100]);
            let (held, decoded) = held_by(|| DIALECT.decode_term(&bytes, &WIDEST));
            assert_eq!(decoded, Err(DecodeError::Truncated));
            assert_eq!(held, 0, "kind {kind} claiming {claimed}");
        }
    }
}

#[test]
fn containers_that_each_claim_the_rest_are_bounded() {
    for kind in CONTAINERS {
        let each = if kind == MAP { 2 } else { 1 };
        for levels in [1, 16, 64, 126, 127, 128, 129, 1_000] {
            for filler in [0, 1, 50, 5_000, 100_000] {
                let mut bytes = vec![NIL; filler];
                for _ in 0..levels {
                    bytes = prefixed(kind, bytes.len() / each, &bytes);
                }
                let _ = decode_bounded(&bytes);
            }
        }
    }
}

#[test]
fn flat_containers_of_the_smallest_items_are_bounded() {
    for kind in CONTAINERS {
        let each = if kind == MAP { 2 } else { 1 };
        // Around each doubling, when the old and the new allocation coexist.
        for exponent in 0..18 {
            for count in [(1_usize << exponent) - 1, 1 << exponent, (1 << exponent) + 1] {
                let bytes = prefixed(kind, count, &vec![NIL; count * each]);
                assert!(decode_bounded(&bytes).is_ok());
            }
        }
    }
}

#[test]
fn containers_of_containers_are_bounded() {
    for outer in CONTAINERS {
        for inner in CONTAINERS {
            for count in [0_usize, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 129] {
                let items = vec![NIL; if inner == MAP { 2 * count } else { count }];
                let item = prefixed(inner, count, &items);
                let (claimed, repeats) = if outer == MAP { (512, 1_024) } else { (1_025, 1_025) };
                let bytes = prefixed(outer, claimed, &item.repeat(repeats));
                assert!(decode_bounded(&bytes).is_ok());
            }
        }
    }
}

#[test]
fn texts_bytes_and_tokens_are_bounded() {
    let long = "a".repeat(100_000);
    for term in [Term::from(long.as_str()), Term::Atom(long.clone()), Term::Bytes(long.into())] {
        let bytes = DIALECT.encode_term(&term, &WIDEST).unwrap();
        assert_eq!(decode_bounded(&bytes), Ok(term));
    }
    let token = [&[0x11, 0], &encoded(2_048)[..], &[b'a'; 2_048]].concat();
    let (held, decoded) = held_by(|| DIALECT.decode_down(&token, &WIDEST));
    assert_bounded(token.len(), held, &WIDEST);
    assert!(matches!(decoded, Ok(DownFrame::Token(_))));
    let raw = [&[0x02, 0][..], &[NIL; 1_000]].concat();
    let (held, decoded) = held_by(|| DIALECT.decode_up(&raw, &WIDEST));
    assert!(matches!(decoded, Ok(UpFrame::Raw { .. })));
    assert_eq!(held, 1_000);
}

/// A term of a kept message stays encoded, whatever it would take decoded.
#[test]
fn kept_messages_and_acknowledgements_are_bounded() {
    let head = [0x22, 1, 1, 1, 0];
    let nulls = prefixed(LIST, 10_000, &[NIL; 10_000]);
    for (flags, content) in [(0, &nulls), (2, &nulls), (2, &vec![0xff; 5_000]), (2, &vec![])] {
        let bytes = [&head[..], &[flags], content].concat();
        for limits in [NARROW, Limits::default(), WIDEST] {
            let (held, decoded) = held_by(|| DIALECT.decode_up(&bytes, &limits));
            let size = decoded.ok().map(|frame| {
                let UpFrame::Delivery(DeliveryFrame::Kept(kept)) = frame else {
                    panic!("not a kept message: {frame:?}");
                };
                kept.content.size()
            });
            let weight = if flags == 0 { 320_048 } else { content.len() + 16 };
            let expected =
                (weight <= limits.max_decoded || content.is_empty()).then_some(content.len());
            assert_eq!((held, size), (expected.unwrap_or(0), expected));
            let (held, down) = held_by(|| DIALECT.receive_down(&bytes, &limits));
            assert_eq!((held, down.is_ok()), (expected.unwrap_or(0), expected.is_some()));
        }
    }
    for count in [0, 1, 250, 1_248, 1_249, 100_000] {
        let head = [&[0x04, 1][..], &encoded(100_000), &[0, 0, 0]].concat();
        let numbers: Vec<u8> = (1..=count).flat_map(encoded).collect();
        let bytes = [&head[..], &encoded(count), &numbers].concat();
        for limits in [NARROW, Limits::default(), WIDEST] {
            let (held, decoded) = held_by(|| DIALECT.decode_up(&bytes, &limits));
            assert_bounded(bytes.len(), held, &limits);
            let fits = 8 * usize::try_from(count).unwrap() + 16 <= limits.max_decoded;
            assert_eq!(decoded.is_ok(), fits, "{count} rejected numbers");
        }
        // One more than there are.
        let bytes = [&head[..], &encoded(count + 1), &numbers].concat();
        let (held, decoded) = held_by(|| DIALECT.decode_up(&bytes, &WIDEST));
        assert_eq!(decoded, Err(DecodeError::Truncated));
        assert!(held <= 8 * bytes.len(), "{held}");
        let claims = [&head[..], &encoded(u64::MAX), &numbers].concat();
        let (held, decoded) = held_by(|| DIALECT.decode_down(&claims, &WIDEST));
        assert_eq!((held, decoded), (0, Err(DecodeError::Truncated)));
    }
}

#[test]
fn what_exceeds_the_budget_is_refused_before_it_is_allocated() {
    let limits = Limits { max_decoded: 1_000_000, ..Limits::default() };
    let nulls = prefixed(LIST, 1_000_000, &vec![NIL; 1_000_000]);
    let (held, decoded) = held_by(|| DIALECT.decode_term(&nulls, &limits));
    let weight = 32 + 16 + 32 * 1_000_000;
    assert_eq!((held, decoded), (0, Err(DecodeError::TooHeavy { weight, limit: 1_000_000 })));
    // The sum counts, wherever the terms are.
    let lists = prefixed(LIST, 500, &prefixed(LIST, 250, &[NIL; 250]).repeat(500));
    let (held, decoded) = held_by(|| DIALECT.decode_term(&lists, &limits));
    assert!(matches!(decoded, Err(DecodeError::TooHeavy { limit: 1_000_000, .. })));
    assert!(held <= 1_000_000, "{held}");
    let exact = Limits { max_decoded: 32 * 251 + 16, ..limits };
    let list = prefixed(LIST, 250, &[NIL; 250]);
    assert!(DIALECT.decode_term(&list, &exact).is_ok());
    let less = Limits { max_decoded: 32 * 251 + 15, ..limits };
    assert!(matches!(DIALECT.decode_term(&list, &less), Err(DecodeError::TooHeavy { .. })));
}

#[test]
fn a_header_takes_little_memory() {
    let content = prefixed(LIST, 3_000, &[NIL; 3_000]);
    let map = prefixed(MAP, 1, &[&[5, 1, b'k'], &content[..]].concat());
    let header = data_encoding::BASE64.encode(&map);
    let (held, parsed) =
        held_by(|| AuthRequest::from_header(header.as_bytes(), DIALECT, 4_096).map(drop));
    assert_eq!(parsed, Err(Refusal::Malformed));
    assert!(held < 70_000, "{held}");
}

/// JSON of about the size that is given, whose terms take much more.
fn hostile_json(size: usize) -> Vec<String> {
    let wrap = |item: &str| format!("[{}{item}]", format!("{item},").repeat(size / item.len()));
    let mut keys = String::from("{");
    for key in 0..size / 9 {
        keys += &format!("\"{key:05}\":0,");
    }
    let pairs = wrap("[0,0]");
    let mut cases: Vec<_> = ["0", "[]", "[0]", "{\"\":0}", "\"\"", "\"a\"", "{}"].map(wrap).into();
    cases.extend([
        format!("{keys}\"last\":0}}"),
        format!("{keys}\"00000\":0}}"),
        format!("{{\"$map\":{pairs}}}"),
        format!("{{\"$bytes\":\"{}\"}}", "AAAA".repeat(size / 4)),
        format!("\"{}\"", "x".repeat(size)),
        format!("{}{}", "[".repeat(100), "]".repeat(100)),
    ]);
    cases
}

#[test]
fn json_is_read_within_the_budget() {
    for size in [10, 1_000, 100_000] {
        for json in hostile_json(size) {
            let budgets = [0, 500, 10_000, 1_000_000, 100_000_000].into_iter();
            for (max_decoded, is_literal) in budgets.flat_map(|most| [(most, false), (most, true)])
            {
                let limits = Limits { max_decoded, ..Limits::default() };
                let budget = Budget::new(&limits);
                let reader = if is_literal {
                    JsonReader::literal(&budget)
                } else {
                    JsonReader::new(&budget)
                };
                let (held, read) = held_by(|| {
                    let mut json = serde_json::Deserializer::from_str(&json);
                    reader.deserialize(&mut json)
                });
                // Besides the budget, the text of the error.
                assert!(held <= max_decoded + 1_000, "{held} of {max_decoded}: {:.30}", json);
                assert_eq!(budget.exceeded().is_some(), {
                    let error = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
                    error.contains("the limit is") || error.contains("nested deeper")
                });
                if let Ok(term) = read {
                    assert!(term.weight() <= budget.spent() + 32, "{:.30}", json);
                }
            }
        }
    }
}

/// Bytes that are mostly containers with plausible lengths.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (8_u8..=10, 0_u8..40).prop_map(|(kind, count)| vec![kind, count]),
        1 => (5_u8..=10, any::<u16>()).prop_map(|(kind, count)| {
            [&[kind, 251], &count.to_le_bytes()[..]].concat()
        }),
        3 => (1_usize..40).prop_map(|count| vec![NIL; count]),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn hostile_bytes_are_bounded(bytes in hostile()) {
        let _ = decode_bounded(&bytes);
    }

    #[test]
    fn random_bytes_are_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = decode_bounded(&bytes);
    }
}
