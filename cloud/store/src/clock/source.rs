//! Where the time comes from: the kernel's clock, and what the kernel says about it.

use std::time::Duration;

use nix::libc;

use crate::time::since_1970;

/// A wall clock.
pub trait ClockSource: Send + Sync + 'static {
    /// The time since 1970-01-01 UTC; 0 if the clock is before 1970.
    fn since_1970(&self) -> Duration;

    /// Whether something keeps this clock at the time of the world, as far as its owner knows.
    fn is_synchronized(&self) -> bool;
}

/// The system's clock, by [`Default`].
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl ClockSource for SystemClock {
    fn since_1970(&self) -> Duration {
        since_1970()
    }

    /// Asks the kernel (`adjtimex`). An NTP client tells it; setting the clock in any other way ends it.
    /// False if the kernel may not be asked.
    fn is_synchronized(&self) -> bool {
        #[expect(unsafe_code, reason = "no safe wrapper of adjtimex in a crate that we have")]
        // SAFETY: all zeros is a valid `timex`, whose `modes` of 0 only reads, and which outlives the call.
        let (state, status) = unsafe {
            let mut timex: libc::timex = std::mem::zeroed();
            let state = libc::adjtimex(&raw mut timex);
            (state, timex.status)
        };
        state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
    }
}
