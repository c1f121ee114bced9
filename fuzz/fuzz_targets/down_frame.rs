//! Decodes any bytes as a frame from a cloud: no panic, bounded memory, and a decoded frame survives a
//! round trip.
#![no_main]

use fedecks_fuzz::{Counting, bounded, check_content, check_encoded, check_request};
use fedecks_protocol::{Dialect, DownFrame, EncodeError, Limits, Received};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|bytes: &[u8]| {
    let (dialect, limits) = (Dialect::Bincode, Limits::default());
    let Ok(frame) = bounded(bytes.len(), || dialect.decode_down(bytes, &limits)) else {
        assert!(dialect.receive_down(bytes, &limits).is_err());
        return;
    };
    if let DownFrame::Delivery(frame) = &frame {
        check_content(frame);
    }
    if let DownFrame::Request(frame) = &frame {
        check_request(frame);
    }
    let received = bounded(bytes.len(), || dialect.receive_down(bytes, &limits));
    match received.expect("what is decoded is received") {
        Received::Message(term) => check_encoded(&term),
        Received::Frame(frame) => assert!(!matches!(frame, DownFrame::Message { .. })),
    }
    let written = match dialect.encode_down(&frame, &limits) {
        Err(EncodeError::UnknownFrame) if matches!(frame, DownFrame::Unknown { .. }) => return,
        written => written.expect("what was read can be written"),
    };
    assert!(written.len() <= bytes.len(), "written longer than it was read");
    let again = dialect.decode_down(&written, &limits).expect("what was written can be read");
    // Compares bytes, not frames: a NaN differs from itself.
    assert_eq!(dialect.encode_down(&again, &limits).as_deref(), Ok(written.as_slice()));
});
