//! When a device that has not reached its cloud for too long takes an action, such as a restart. Each
//! wait is twice as long as the previous one until the cloud is reached again, so that an outage of the
//! cloud does not keep a fleet restarting. The driver persists the number of actions across reboots; no
//! wall clock is needed, which a board may only get from the network.

use std::time::Duration;

use crate::state::State;
use crate::time::Time;

/// Measures how long the cloud has been unreachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    after: Duration,
    times: u32,
    since: Option<Time>,
}

/// The ratio of the longest wait to the first one.
const MAX_FACTOR: u32 = 32;

impl Unreachable {
    /// Starts with the first input. `after` is how long the cloud has to be unreachable before the first
    /// action; `times` is the number of actions since the cloud was last reached, including earlier
    /// boots.
    pub fn new(after: Duration, times: u32) -> Self {
        Self { after, times, since: None }
    }

    /// Handles a number of earlier actions that becomes known late. The larger number counts.
    pub fn handle_loaded(&mut self, times: u32) {
        self.times = self.times.max(times);
    }

    /// Handles the state of the connection. `Connected` is reached; without a token no connection is
    /// expected. In any other state the cloud is unreachable, from the first of them on.
    pub fn handle_state(&mut self, now: Time, state: State) {
        match state {
            State::Connected => {
                self.times = 0;
                self.since = None;
            }
            State::Loading | State::Unregistered | State::Closed => self.since = None,
            State::Offline { .. }
            | State::Late { .. }
            | State::Waiting { .. }
            | State::Dialing { .. } => {
                self.since.get_or_insert(now);
            }
        }
    }

    /// Handles a refusal by the cloud itself, which means that it was reached. A device whose token the
    /// cloud refuses as expired again and again is not helped by a restart.
    pub fn handle_refusal(&mut self, now: Time) {
        self.times = 0;
        if self.since.is_some() {
            self.since = Some(now);
        }
    }

    /// When the next action is due; `None` while the cloud is reached or not expected to be.
    pub fn poll_timeout(&self) -> Option<Time> {
        let factor = 1_u32.checked_shl(self.times).unwrap_or(MAX_FACTOR).min(MAX_FACTOR);
        self.since.map(|since| since + self.after.saturating_mul(factor))
    }

    /// If the action is due, counts it and returns how long the cloud has been unreachable.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Duration> {
        self.poll_timeout().filter(|at| *at <= now)?;
        let since = self.since.replace(now)?;
        self.times = self.times.saturating_add(1);
        Some(now - since)
    }

    /// The number of actions since the cloud was last reached.
    pub fn times(&self) -> u32 {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const START: Time = Time::new(Duration::ZERO);
    const WAITING: State = State::Waiting { until: START };

    /// A device that has waited since its start and acts after an hour, or later if it has acted this
    /// number of times before.
    fn waiting(times: u32) -> Unreachable {
        let mut it = Unreachable::new(HOUR, times);
        it.handle_state(START, WAITING);
        it
    }

    /// Each action restarts the device, after which it knows the number of actions but not the time.
    #[test]
    fn an_outage_of_a_year_restarts_a_device_less_and_less_often() {
        let (mut done, mut hours, mut times) = (Vec::new(), 0, 0);
        loop {
            let mut it = Unreachable::new(24 * HOUR, times);
            it.handle_state(START, WAITING);
            let at = it.poll_timeout().unwrap();
            assert_eq!(it.handle_timeout(at), Some(at - START));
            times = it.times();
            hours += (at - START).as_secs() / 3_600;
            if hours > 365 * 24 {
                break;
            }
            done.push(hours);
        }
        assert_eq!(done[..6], [24, 72, 168, 360, 744, 1_512]);
        assert_eq!(done.len(), 15);
        assert!(done.windows(2).skip(5).all(|pair| pair[1] - pair[0] == 32 * 24));
    }

    #[test]
    fn a_connection_stops_the_timer_and_resets_the_number() {
        let (mut it, mut now) = (waiting(3), START);
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
    fn a_refusal_counts_as_reaching_the_cloud() {
        let mut it = waiting(2);
        it.handle_refusal(START + HOUR);
        assert_eq!((it.poll_timeout(), it.times()), (Some(START + HOUR * 2), 0));
    }

    #[test]
    fn a_late_device_acts_only_once_the_cloud_does_not_answer() {
        let mut it = Unreachable::new(HOUR, 0);
        for minute in (0..600).step_by(5) {
            let now = START + Duration::from_secs(minute * 60);
            it.handle_state(now, State::Late { until: now });
            it.handle_refusal(now);
            assert_eq!(it.handle_timeout(now + HOUR / 2), None);
        }
        let since = it.poll_timeout().unwrap();
        assert_eq!(it.handle_timeout(since), Some(HOUR));
    }

    #[test]
    fn a_device_without_a_token_is_not_expected_to_connect() {
        let mut it = Unreachable::new(HOUR, 0);
        it.handle_state(START, State::Unregistered);
        assert_eq!(it.poll_timeout(), None);
        it.handle_refusal(START);
        assert_eq!(it.poll_timeout(), None);
        let mut it = waiting(0);
        it.handle_state(START, State::Unregistered);
        assert_eq!(it.poll_timeout(), None);
        assert_eq!(it.handle_timeout(START + HOUR * 9), None);
    }

    #[test]
    fn a_number_that_is_loaded_late_only_lengthens_the_wait() {
        let mut it = waiting(1);
        for (loaded, hours) in [(0, 2), (3, 8)] {
            it.handle_loaded(loaded);
            assert_eq!(it.poll_timeout(), Some(START + HOUR * hours));
        }
    }

    #[test]
    fn the_wait_is_bounded_for_any_number_of_actions() {
        for times in [5, 31, 32, 33, u32::MAX] {
            assert_eq!(waiting(times).poll_timeout(), Some(START + HOUR * 32), "{times}");
        }
    }
}
