//! Parses any bytes as the authentication header, as they are and in base64: no panic, bounded memory,
//! and a parsed header survives a round trip.
#![no_main]

use data_encoding::BASE64;
use fedecks_fuzz::{Counting, bounded};
use fedecks_protocol::{AuthRequest, Dialect, MAX_HEADER_CHARS, Proof};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Random bytes are hardly ever base64; this gets through to the term.
    check(BASE64.encode(bytes).as_bytes());
});

fn check(header: &[u8]) {
    let dialect = Dialect::Bincode;
    let read = |header: &[u8]| AuthRequest::from_header(header, dialect, MAX_HEADER_CHARS);
    let Ok(request) = bounded(header.len(), || read(header)) else {
        return;
    };
    let written = request.to_header(dialect).expect("what was read can be written");
    assert!(written.len() <= header.len(), "written longer than it was read");
    let again = read(written.as_bytes()).expect("what was written can be read");
    assert_eq!(again.device_id, request.device_id);
    match (&request.proof, &again.proof) {
        (Proof::Token(first), Proof::Token(second)) => assert_eq!(first.expose(), second.expose()),
        (Proof::Credentials(_), Proof::Credentials(_)) => {}
        _ => panic!("read as one kind of proof, written as the other"),
    }
    // Compares text, not requests: a NaN among the credentials differs from itself.
    assert_eq!(again.to_header(dialect), Ok(written));
}
