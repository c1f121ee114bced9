//! Decodes any bytes as a frame from a device: no panic, bounded memory, and a decoded frame survives a
//! round trip.
#![no_main]

use fedecks_fuzz::{Counting, bounded, check_content, check_request};
use fedecks_protocol::{Dialect, EncodeError, Limits, UpFrame};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|bytes: &[u8]| {
    let (dialect, limits) = (Dialect::Bincode, Limits::default());
    let Ok(frame) = bounded(bytes.len(), || dialect.decode_up(bytes, &limits)) else {
        return;
    };
    if let UpFrame::Delivery(frame) = &frame {
        check_content(frame);
    }
    if let UpFrame::Request(frame) = &frame {
        check_request(frame);
    }
    let written = match dialect.encode_up(&frame, &limits) {
        Err(EncodeError::UnknownFrame) if matches!(frame, UpFrame::Unknown { .. }) => return,
        written => written.expect("what was read can be written"),
    };
    assert!(written.len() <= bytes.len(), "written longer than it was read");
    let again = dialect.decode_up(&written, &limits).expect("what was written can be read");
    // Compares bytes, not frames: a NaN differs from itself.
    assert_eq!(dialect.encode_up(&again, &limits).as_deref(), Ok(written.as_slice()));
});
