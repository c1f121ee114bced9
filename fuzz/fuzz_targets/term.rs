//! Decodes any bytes as a term: no panic, bounded memory, and a decoded term survives a round trip.
#![no_main]

use fedecks_fuzz::{Counting, bounded, check_encoded};
use fedecks_protocol::{Dialect, Limits};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|bytes: &[u8]| {
    let (dialect, limits) = (Dialect::Bincode, Limits::default());
    let Ok(term) = bounded(bytes.len(), || dialect.decode_term(bytes, &limits)) else {
        assert!(dialect.check_term(bytes, &limits).is_err());
        return;
    };
    check_encoded(&dialect.check_term(bytes, &limits).expect("what is decoded is valid"));
    let kept = dialect.keep_term(&term, &limits).expect("what was read can be kept");
    let written = dialect.encode_term(&term, &limits).expect("what was read can be written");
    assert_eq!(kept.as_bytes(), written);
    assert!(written.len() <= bytes.len(), "written longer than it was read");
    let again = dialect.decode_term(&written, &limits).expect("what was written can be read");
    // Compares bytes, not terms: a NaN differs from itself.
    assert_eq!(dialect.encode_term(&again, &limits).as_deref(), Ok(written.as_slice()));
});
