//! When a device that has not reached its cloud for too long is to do something about it, a restart
//! say. Each time waits twice as long as the one before, until the cloud is reached again, so that an
//! outage of the cloud does not make a fleet restart for ever. The number of times outlives a reboot
//! in the driver's hands, and no clock is needed: a board may know the time only from the network.

use std::time::Duration;

use crate::state::State;
use crate::time::Time;

/// Counts how long the cloud has not been reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    after: Duration,
    times: u32,
    since: Option<Time>,
}

/// The longest wait is this many times the first one.
const MOST: u32 = 32;

impl Unreachable {
    /// Counts from the first input on. `after` is how long the cloud has to be out of reach the first
    /// time; `times` is how often something was done since the cloud was reached last, on earlier
    /// boots as well.
    pub fn new(after: Duration, times: u32) -> Self {
        Self { after, times, since: None }
    }

    /// How often something was done before, if that becomes known only now. More than is known counts.
    pub fn handle_loaded(&mut self, times: u32) {
        self.times = self.times.max(times);
    }

    /// What the connection does now. Connected is reached; without a token nobody expects a connection.
    /// Everything else counts from when it began.
    pub fn handle_state(&mut self, now: Time, state: State) {
        match state {
            State::Connected => {
                self.times = 0;
                self.since = None;
            }
            State::Unregistered | State::Closed => self.since = None,
            State::Offline { .. } | State::Waiting { .. } | State::Dialing { .. } => {
                self.since.get_or_insert(now);
            }
        }
    }

    /// The cloud itself refused. It is reached then, so the count begins anew.
    pub fn handle_refusal(&mut self, now: Time) {
        self.times = 0;
        if self.since.is_some() {
            self.since = Some(now);
        }
    }

    /// When it has been out of reach for too long; none while it is reached or not expected to be.
    pub fn poll_timeout(&self) -> Option<Time> {
        let factor = 1_u32.checked_shl(self.times).unwrap_or(MOST).min(MOST);
        self.since.map(|since| since + self.after.saturating_mul(factor))
    }

    /// Whether it is time to do something, and if so for how long the cloud has been out of reach. It
    /// counts as done then.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Duration> {
        self.poll_timeout().filter(|at| *at <= now)?;
        let since = self.since.replace(now)?;
        self.times = self.times.saturating_add(1);
        Some(now - since)
    }

    /// How often something was done since the cloud was reached last.
    pub fn times(&self) -> u32 {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const WAITING: State = State::Waiting { until: Time::new(Duration::ZERO) };

    /// When something is done in a year without the cloud, in hours from its beginning, by a device that
    /// is restarted by it, and then knows `times` but no time.
    fn times_done_in_a_year(after: Duration) -> Vec<u64> {
        let mut done = Vec::new();
        let (mut hours, mut times) = (0, 0);
        loop {
            let booted = Time::default();
            let mut it = Unreachable::new(after, times);
            it.handle_state(booted, WAITING);
            let at = it.poll_timeout().unwrap();
            assert_eq!(it.handle_timeout(at), Some(at - booted));
            times = it.times();
            hours += (at - booted).as_secs() / 3_600;
            if hours > 365 * 24 {
                return done;
            }
            done.push(hours);
        }
    }

    #[test]
    fn an_outage_of_a_year_restarts_a_device_ever_more_rarely() {
        let done = times_done_in_a_year(24 * HOUR);
        assert_eq!(done[..6], [24, 72, 168, 360, 744, 1_512]);
        assert_eq!(done.len(), 15);
        assert!(done.windows(2).skip(5).all(|pair| pair[1] - pair[0] == 32 * 24));
    }

    #[test]
    fn what_connects_is_left_alone_and_forgives_what_was_done() {
        let mut it = Unreachable::new(HOUR, 3);
        let mut now = Time::default();
        it.handle_state(now, WAITING);
        assert_eq!(it.handle_timeout(now + HOUR * 7), None);
        for _ in 0..1_000 {
            it.handle_state(now, State::Connected);
            assert_eq!((it.poll_timeout(), it.times()), (None, 0));
            now = now + HOUR * 100;
            it.handle_state(now, WAITING);
            assert_eq!(it.poll_timeout(), Some(now + HOUR));
            now = now + HOUR;
            it.handle_state(now, WAITING);
            assert_eq!(it.handle_timeout(now), Some(HOUR));
            assert_eq!(it.handle_timeout(now), None);
        }
    }

    #[test]
    fn a_refusal_is_as_good_as_reaching_the_cloud_and_counts_anew() {
        let mut it = Unreachable::new(HOUR, 2);
        let now = Time::default();
        it.handle_state(now, WAITING);
        it.handle_refusal(now + HOUR);
        assert_eq!(it.times(), 0);
        assert_eq!(it.poll_timeout(), Some(now + HOUR * 2));
    }

    #[test]
    fn a_device_without_a_token_is_not_expected_to_connect() {
        let mut it = Unreachable::new(HOUR, 0);
        let now = Time::default();
        it.handle_state(now, State::Unregistered);
        assert_eq!(it.poll_timeout(), None);
        it.handle_refusal(now);
        assert_eq!(it.poll_timeout(), None);
        it.handle_state(now, WAITING);
        it.handle_state(now, State::Unregistered);
        assert_eq!(it.poll_timeout(), None);
        assert_eq!(it.handle_timeout(now + HOUR * 9), None);
    }

    #[test]
    fn what_is_loaded_late_lengthens_the_wait_and_never_shortens_it() {
        let mut it = Unreachable::new(HOUR, 1);
        it.handle_state(Time::default(), WAITING);
        it.handle_loaded(0);
        assert_eq!(it.poll_timeout(), Some(Time::default() + HOUR * 2));
        it.handle_loaded(3);
        assert_eq!(it.poll_timeout(), Some(Time::default() + HOUR * 8));
    }

    #[test]
    fn any_number_of_times_keeps_the_wait_bounded() {
        for times in [5, 31, 32, 33, u32::MAX] {
            let mut it = Unreachable::new(HOUR, times);
            it.handle_state(Time::default(), WAITING);
            assert_eq!(it.poll_timeout(), Some(Time::default() + HOUR * 32), "{times}");
        }
    }
}
