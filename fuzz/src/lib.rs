//! What the fuzz targets share.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what the calling thread has allocated, to hold decoders to the bound they promise.
pub struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // Fails only while a thread is being torn down, when nothing is measured.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller keeps alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller keeps dealloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `decode` and panics if at some moment it held more than what a decoder promises for an
/// input of `size` bytes: 100 bytes for each, and 64 KiB.
pub fn bounded<T>(size: usize, decode: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    let decoded = decode();
    let held = PEAK.get() - before;
    let limit = signed(100 * size + 64 * 1024);
    assert!(
        held <= limit,
        "{size} bytes made the decoder hold {held}, at most {limit} are promised"
    );
    decoded
}
