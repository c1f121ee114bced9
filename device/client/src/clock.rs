//! The device's clocks: time since boot, time of day, and a timer that counts time in suspend. Public
//! for programs whose deadlines must keep running during suspend, such as `fedecksd`.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fedecks_common::utc;
use fedecks_device_core::Time;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use rustls_pki_types::UnixTime;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// When this library was built, in seconds since 1970-01-01 UTC: a time that has certainly passed.
pub const BUILD_TIME: &str = env!("FEDECKS_BUILD_TIME");

/// The time since boot, which advances during suspend and never goes back (`CLOCK_BOOTTIME`).
#[expect(clippy::exhaustive_structs, reason = "a name for functions, it has no values")]
pub struct BootClock;

impl BootClock {
    /// The time since boot.
    pub fn now() -> Time {
        #[expect(
            clippy::expect_used,
            reason = "clock_gettime only fails for an unknown clock; Linux has this one since 2.6.39"
        )]
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
        Time::new(Duration::from(now))
    }
}

/// Wakes its task at a time of the [`BootClock`]. A deadline that passes during suspend is due as soon
/// as the device wakes up; tokio's own timers stop in suspend.
pub struct Alarm {
    timer: AsyncFd<Timer>,
    at: Option<Time>,
}

struct Timer(TimerFd);

/// The latest time that a timer accepts on every platform, in seconds since boot: 68 years.
const LATEST: u64 = i32::MAX as u64;

impl Alarm {
    /// Creates an alarm that is not set. Must be called within a tokio runtime with I/O enabled.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(
            timerfd::ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        #[expect(
            unsafe_code,
            reason = "tokio has no safe way to register a custom file descriptor"
        )]
        // SAFETY: `Timer` owns its descriptor and returns the same one for its whole lifetime.
        let timer = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE) }?;
        Ok(Self { timer, at: None })
    }

    /// Sets the alarm, or disarms it with `None`, replacing the previous setting. Setting the same time
    /// again costs nothing.
    pub fn set(&mut self, at: Option<Time>) -> io::Result<()> {
        if at == self.at {
            return Ok(());
        }
        match at {
            Some(at) => {
                // All zeros would disarm the timer instead of making it due immediately.
                let at = at.since_start().max(Duration::from_nanos(1));
                let at = at.min(Duration::from_secs(LATEST));
                self.timer.get_ref().0.set(
                    Expiration::OneShot(TimeSpec::from_duration(at)),
                    TimerSetTimeFlags::TFD_TIMER_ABSTIME,
                )?;
            }
            None => self.timer.get_ref().0.unset()?,
        }
        self.at = at;
        Ok(())
    }

    /// Waits until the alarm is due, without limit if it is not set, and disarms it. Cancel safe.
    pub async fn fired(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable_mut().await?;
            // Not ready if the alarm was set again after the previous one had become due.
            if let Ok(read) = ready.try_io(|timer| Ok(timer.get_ref().0.wait()?)) {
                read?;
                self.at = None;
                return Ok(());
            }
        }
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// The system's time of day, right or wrong.
#[derive(Clone)]
pub(crate) struct WallClock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl WallClock {
    /// The system clock. A time before 1970 counts as 1970.
    pub(crate) fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            UnixTime::since_unix_epoch(since)
        })
    }

    /// A clock that shows what `read` returns.
    pub(crate) fn new(read: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(crate) fn now(&self) -> UnixTime {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WallClock({})", utc(self.now().as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::testing::within;

    /// An alarm that is due fires in the next turn of the event loop, which takes far less than this.
    async fn is_due(alarm: &mut Alarm) -> bool {
        timeout(Duration::from_millis(20), alarm.fired()).await.is_ok()
    }

    #[tokio::test]
    async fn an_alarm_fires_once_and_immediately_if_its_time_has_passed() {
        let mut alarm = Alarm::new().unwrap();
        let now = BootClock::now();
        // The same time may be set again after it fired.
        for past in [Time::default(), Time::default(), now, now] {
            alarm.set(Some(past)).unwrap();
            within(alarm.fired()).await.unwrap();
        }
        let at = BootClock::now() + Duration::from_millis(50);
        alarm.set(Some(at)).unwrap();
        // A wait that is dropped does not affect the alarm.
        assert!(timeout(Duration::ZERO, alarm.fired()).await.is_err());
        within(alarm.fired()).await.unwrap();
        assert!(BootClock::now() >= at);
        assert!(!is_due(&mut alarm).await);
    }

    #[tokio::test]
    async fn an_alarm_that_is_disarmed_or_postponed_does_not_fire() {
        let mut alarm = Alarm::new().unwrap();
        assert!(!is_due(&mut alarm).await);
        for later in [None, Some(BootClock::now() + Duration::MAX)] {
            alarm.set(Some(Time::default())).unwrap();
            alarm.set(later).unwrap();
            assert!(!is_due(&mut alarm).await, "{later:?}");
        }
    }

    #[test]
    fn clocks_advance_from_boot_and_from_the_build() {
        let first = BootClock::now();
        assert!(first > Time::default());
        assert!(BootClock::now() >= first);
        let build: u64 = BUILD_TIME.parse().unwrap();
        assert!(WallClock::system().now().as_secs() >= build);
    }
}
