//! The wall clock, and whether it can be believed. Keeps nothing on disk; that is `floor_file`.

mod floor_file;
mod manual;
mod source;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use floor_file::{FloorFile, FloorFileError};
pub use manual::ManualClock;
pub use source::{ClockSource, SystemClock};

/// When this library was built, in seconds since 1970-01-01 UTC: a time that has certainly passed.
pub const BUILD_TIME: u64 = match u64::from_str_radix(env!("FEDECKS_BUILD_TIME"), 10) {
    Ok(seconds) => seconds,
    // The build script has checked it.
    Err(_) => 0,
};

/// The wall clock with its *floor*, a time that has certainly passed: when this library was built, or
/// what was stored while the kernel called its clock synchronized, whichever is later. Clones share it.
///
/// A clock below the floor is wrong. A clock above it may still be: one that is ahead looks the same as
/// one after a long stop. So code that deletes by age asks [`Clock::is_trusted`] first, and code that
/// cannot do without the time refuses for as long as [`Clock::behind`] returns something.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

struct Shared {
    source: Box<dyn ClockSource>,
    /// The floor is never lower than this.
    built_at: u64,
    floor: AtomicU64,
}

impl Clock {
    /// The system's clock. The floor is [`BUILD_TIME`] until [`Clock::set_floor`] is called.
    pub fn system() -> Self {
        Self::new(SystemClock, BUILD_TIME)
    }

    /// Another clock, whose floor is never below `built_at`, in seconds since 1970.
    pub fn new(source: impl ClockSource, built_at: u64) -> Self {
        let floor = AtomicU64::new(built_at);
        Self(Arc::new(Shared { source: Box::new(source), built_at, floor }))
    }

    /// Sets the floor, though never below the build time. For what a [`FloorFile`] contains.
    pub fn set_floor(&self, stored: u64) {
        self.0.floor.store(stored.max(self.0.built_at), Ordering::Relaxed);
    }

    /// The time since 1970-01-01 UTC, as the clock shows it, right or wrong.
    pub fn since_1970(&self) -> Duration {
        self.0.source.since_1970()
    }

    /// [`Clock::since_1970`] in whole seconds.
    pub fn now(&self) -> u64 {
        self.since_1970().as_secs()
    }

    /// A time that has certainly passed, in seconds since 1970.
    pub fn floor(&self) -> u64 {
        self.0.floor.load(Ordering::Relaxed)
    }

    /// When this program was built; [`Clock::floor`] is never below it.
    pub fn built_at(&self) -> u64 {
        self.0.built_at
    }

    /// The later of the clock's time and the floor: what ended by then has ended, even if the clock is
    /// behind.
    pub fn at_least(&self) -> u64 {
        self.now().max(self.floor())
    }

    /// How far the clock is below the floor, and so at least behind; `None` if it is not below.
    pub fn behind(&self) -> Option<Duration> {
        let behind = self.floor().checked_sub(self.now())?;
        (behind > 0).then(|| Duration::from_secs(behind))
    }

    /// Whether the clock is below the floor, and so certainly wrong.
    pub fn below_floor(&self) -> bool {
        self.behind().is_some()
    }

    /// Whether the kernel calls its clock synchronized. Within many containers it never does.
    pub fn is_synchronized(&self) -> bool {
        self.0.source.is_synchronized()
    }

    /// Whether the clock may be relied on to delete something by its age: synchronized and not below the
    /// floor.
    pub fn is_trusted(&self) -> bool {
        self.is_synchronized() && !self.below_floor()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("floor", &self.floor()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_below_its_floor_is_behind_and_not_trusted() {
        let manual = ManualClock::default();
        let clock = Clock::new(manual.clone(), 1000);
        for (now, synchronized, stored, behind, trusted) in [
            (999, true, 0, Some(1), false),
            (1000, true, 0, None, true),
            (1000, false, 0, None, false),
            (1000, true, 1500, Some(500), false),
            (1500, true, 1500, None, true),
            (u64::MAX / 2, true, 1500, None, true),
        ] {
            manual.set(now, synchronized);
            clock.set_floor(stored);
            let case = (now, synchronized, stored);
            assert_eq!(clock.behind(), behind.map(Duration::from_secs), "{case:?}");
            assert_eq!(clock.below_floor(), behind.is_some(), "{case:?}");
            assert_eq!(clock.is_trusted(), trusted, "{case:?}");
            assert_eq!(clock.at_least(), now.max(stored).max(1000), "{case:?}");
        }
    }

    #[test]
    fn a_lower_floor_is_taken_but_not_below_the_build_time() {
        let clock = Clock::new(ManualClock::default(), 1000);
        for (stored, floor) in [(2000, 2000), (1500, 1500), (1, 1000)] {
            clock.set_floor(stored);
            assert_eq!(clock.floor(), floor);
        }
    }

    #[test]
    fn the_build_time_has_passed() {
        assert!(BUILD_TIME > 1_700_000_000 && BUILD_TIME <= Clock::system().now());
        assert!(!Clock::system().below_floor());
    }
}
