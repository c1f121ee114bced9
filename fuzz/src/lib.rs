//! Shared by the fuzz targets: a counting allocator that enforces bounds on memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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
/// bytes: 100 bytes per byte plus 64 KiB.
pub fn bounded<T>(size: usize, decode: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    let decoded = decode();
    let held = PEAK.get() - before;
    let limit = signed(100 * size + 64 * 1024);
    assert!(held <= limit, "decoding {size} bytes took {held}, the bound is {limit}");
    decoded
}
