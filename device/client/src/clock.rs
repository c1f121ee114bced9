//! The three times a device knows: since boot, on the wall, and when it is woken. Public for
//! programs whose deadlines must keep running during suspend, such as `fedecksd`.

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

/// When this library was built, in seconds since 1970-01-01 UTC: a time that is certainly over.
pub const BUILD_TIME: &str = env!("FEDECKS_BUILD_TIME");

/// The time since boot, which goes on while the device sleeps and never goes back
/// (`CLOCK_BOOTTIME`).
pub struct BootClock;

impl BootClock {
    /// What it shows.
    pub fn now() -> Time {
        #[expect(
            clippy::expect_used,
            reason = "clock_gettime fails for an unknown clock only; Linux has this one since 2.6.39"
        )]
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
        Time::new(Duration::from(now))
    }
}

/// Wakes its task at a time of the [`BootClock`]. A deadline that passes while the device sleeps
/// is due as soon as it wakes; tokio's own timers stand still meanwhile.
pub struct Alarm {
    timer: AsyncFd<Timer>,
    at: Option<Time>,
}

struct Timer(TimerFd);

/// What a timer takes on every machine, in seconds since boot: 68 years.
const LATEST: u64 = i32::MAX as u64;

impl Alarm {
    /// An alarm that is not set. Must be called within a tokio runtime with I/O.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(
            timerfd::ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        #[expect(unsafe_code, reason = "tokio has no safe way for a file descriptor of one's own")]
        // SAFETY: `Timer` owns its descriptor and gives out the same one for as long as it lives.
        let timer = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE) }?;
        Ok(Self { timer, at: None })
    }

    /// Sets the alarm, or with `None` stops it; what was set before no longer counts. Asking for
    /// the same time again costs nothing.
    pub fn set(&mut self, at: Option<Time>) -> io::Result<()> {
        if at == self.at {
            return Ok(());
        }
        match at {
            Some(at) => {
                // All zeros would stop the timer instead of making it due at once.
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

    /// Waits until the alarm is due, for ever if it is not set. The alarm is not set any more
    /// afterwards. Dropping the future before loses nothing.
    pub async fn fired(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable_mut().await?;
            // Not ready: the alarm was set anew after the old one had become due.
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

/// The time of day as the system has it, right or wrong.
#[derive(Clone)]
pub(crate) struct WallClock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl WallClock {
    /// The system's clock. One that stands before 1970 is taken to stand at 1970.
    pub(crate) fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            UnixTime::since_unix_epoch(since)
        })
    }

    /// A clock that shows whatever `read` gives.
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

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Whether the alarm is due now.
    async fn is_due(alarm: &mut Alarm) -> bool {
        // tokio's clock: a thousand turns of the loop are enough for what is due already.
        for _ in 0..1_000 {
            tokio::select! {
                biased;
                fired = alarm.fired() => {
                    fired.unwrap();
                    return true;
                }
                () = tokio::task::yield_now() => {}
            }
        }
        false
    }

    #[tokio::test]
    async fn the_alarm_fires_at_its_time_and_only_once() {
        let mut alarm = Alarm::new().unwrap();
        let at = BootClock::now() + Duration::from_millis(20);
        alarm.set(Some(at)).unwrap();
        timeout(PATIENCE, alarm.fired()).await.unwrap().unwrap();
        assert!(BootClock::now() >= at);
        assert!(!is_due(&mut alarm).await);
    }

    #[tokio::test]
    async fn a_time_that_is_over_is_due_at_once_even_that_of_the_boot() {
        let mut alarm = Alarm::new().unwrap();
        for past in [Time::default(), BootClock::now()] {
            alarm.set(Some(past)).unwrap();
            timeout(PATIENCE, alarm.fired()).await.unwrap().unwrap();
            // The same time may be set again after it fired.
            alarm.set(Some(past)).unwrap();
            timeout(PATIENCE, alarm.fired()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn an_alarm_that_is_stopped_or_put_off_does_not_fire() {
        let mut alarm = Alarm::new().unwrap();
        assert!(!is_due(&mut alarm).await);
        for later in [None, Some(BootClock::now() + Duration::MAX)] {
            alarm.set(Some(Time::default())).unwrap();
            alarm.set(later).unwrap();
            assert!(!is_due(&mut alarm).await, "{later:?}");
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_dropped_loses_no_alarm() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(BootClock::now() + Duration::from_millis(50))).unwrap();
        let dropped = timeout(Duration::ZERO, alarm.fired()).await;
        assert!(dropped.is_err());
        timeout(PATIENCE, alarm.fired()).await.unwrap().unwrap();
    }

    #[test]
    fn the_boot_clock_never_goes_back() {
        let first = BootClock::now();
        assert!(first > Time::default());
        assert!(BootClock::now() >= first);
    }

    #[test]
    fn the_system_clock_is_later_than_the_build() {
        let build: u64 = BUILD_TIME.parse().unwrap();
        assert!(WallClock::system().now().as_secs() >= build);
    }
}
