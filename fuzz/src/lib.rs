//! Shared by the fuzz targets: a counting allocator that enforces bounds on memory, and
//! configurations as inputs.

mod config;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fedecks_protocol::{Content, DeliveryFrame, Dialect, EncodedTerm, Limits, RequestFrame};

pub use config::ConfigInput;

/// Counts the allocations of the calling thread.
pub struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // Fails only during the destruction of a thread, when nothing is measured.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller upholds alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller upholds dealloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The bytes that the calling thread has allocated and not freed.
pub fn live() -> isize {
    LIVE.get()
}

/// Runs `decode` and panics if its peak memory exceeds what decoders guarantee for an input of `size`
/// bytes: 32 bytes per byte, and no more than the default budget. The auth header is decoded from base64 first,
/// and the names in it are copied.
pub fn bounded<T>(size: usize, decode: impl FnOnce() -> T) -> T {
    within((33 * size).min(Limits::DEVICE_DECODED) + 1024, decode)
}

/// Panics unless the content of a kept message, which stays encoded while it waits, can be decoded later.
pub fn check_content(frame: &DeliveryFrame) {
    if let DeliveryFrame::Kept(kept) = frame {
        if let Content::Term(term) = &kept.content {
            check_encoded(term);
        }
    }
}

/// Panics unless the content of a request or a reply can be decoded later.
pub fn check_request(frame: &RequestFrame) {
    if let RequestFrame::Request { content, .. } | RequestFrame::Reply { content, .. } = frame {
        check_encoded(content);
    }
}

/// Panics unless the term can be decoded within its weight, and is checked like it is decoded.
pub fn check_encoded(encoded: &EncodedTerm) {
    let term = within(encoded.weight(), || encoded.decode()).expect("it was checked");
    assert_eq!(term.weight(), encoded.weight());
    let checked = within(encoded.size(), || {
        Dialect::Bincode.check_term(encoded.as_bytes(), &Limits::default())
    });
    assert_eq!(checked.as_ref(), Ok(encoded));
}

/// Runs `decode` and panics if its peak memory exceeds this many bytes.
pub fn within<T>(limit: usize, decode: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    let decoded = decode();
    let held = PEAK.get() - before;
    assert!(held <= signed(limit), "decoding took {held} bytes, the bound is {limit}");
    decoded
}
