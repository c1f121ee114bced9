//! How the allocator of the C library treats what messages take.

/// Has allocations of 128 KiB and more returned to the system as soon as they are free. glibc raises this
/// threshold with each big allocation that is freed, up to 32 MiB, and then keeps them, and copies them when they
/// grow. Other C libraries do what is wanted here.
pub(crate) fn return_what_is_big() {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc::{M_MMAP_THRESHOLD, mallopt};
        #[expect(unsafe_code, reason = "there is no safe function for it")]
        // SAFETY: it only sets a parameter, which any thread may do at any time.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 128 * 1024);
        }
    }
}
