//! Decoding needs at most 100 bytes of memory per byte of input plus 64 KiB, whatever the input is.
//!
//! The calculation: a term takes 32 bytes, an entry of a map 64; on the wire a term takes at least one
//! byte, an entry two: 32 bytes per byte. A growing container doubles, and for a moment the old and the
//! new allocation coexist: three times its items, 96 bytes per byte. A container allocates at most 512
//! bytes before its first item is decoded, and at most 128 of them are open at the same time: 64 KiB.
//! Texts and bytes take their size on the wire, a token twice that.
#![expect(unsafe_code, reason = "a global allocator is counted by wrapping one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fedecks_protocol::{DecodeError, Dialect, DownFrame, Limits, Term, UpFrame};
use proptest::prelude::*;

const DIALECT: Dialect = Dialect::Bincode;

const WIDEST: Limits = Limits { max_size: Limits::MAX_SIZE, max_depth: Limits::MAX_DEPTH };

const NIL: u8 = 0;
const LIST: u8 = 8;
const TUPLE: u8 = 9;
const MAP: u8 = 10;
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

fn assert_bounded(size: usize, held: usize) {
    let bound = 100 * size + 64 * 1024;
    assert!(held <= bound, "decoding {size} bytes took {held}, the bound is {bound}");
}

/// Decodes bytes as anything that they can be. Returns the term.
fn decode_bounded(bytes: &[u8]) -> Result<Term, DecodeError> {
    let (held, term) = held_by(|| DIALECT.decode_term(bytes, &WIDEST));
    assert_bounded(bytes.len(), held);
    assert_bounded(bytes.len(), held_by(|| DIALECT.decode_up(bytes, &WIDEST)).0);
    assert_bounded(bytes.len(), held_by(|| DIALECT.decode_down(bytes, &WIDEST)).0);
    let message = [&[0x01, 0x00], bytes].concat();
    assert_bounded(message.len(), held_by(|| DIALECT.decode_up(&message, &WIDEST)).0);
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
fn a_term_has_the_calculated_size() {
    assert!(size_of::<Term>() <= 32);
    assert!(size_of::<(Term, Term)>() <= 64);
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
    assert_bounded(token.len(), held);
    assert!(matches!(decoded, Ok(DownFrame::Token(_))));
    let raw = [&[0x02, 0][..], &[NIL; 1_000]].concat();
    let (held, decoded) = held_by(|| DIALECT.decode_up(&raw, &WIDEST));
    assert!(matches!(decoded, Ok(UpFrame::Raw { .. })));
    assert_eq!(held, 1_000);
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
