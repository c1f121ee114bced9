//! The state between two attempts: when the next one starts, and how the network changes that.

use super::next::Next;
use super::retry_policy::Retry;
use super::shared::Shared;
use crate::event::Event;
use crate::time::Time;
use crate::timers::Timer;
use crate::watch::Network;

#[derive(Debug)]
pub(super) struct Waiting {
    /// The wait results from what the cloud said: the network does not change it.
    fixed: bool,
    since: Time,
}

impl Waiting {
    pub(super) fn begin(now: Time, retry: Retry, cx: &mut Shared) -> Self {
        let delay = retry.delay(cx);
        let it = Self { fixed: retry.is_fixed(), since: now };
        it.end_at(now, now + delay, cx);
        it
    }

    /// A network that is back or different ends the backoff; one that is down extends it to the maximum.
    pub(super) fn on_network(&self, now: Time, network: Network, was_down: bool, cx: &mut Shared) {
        if self.fixed {
            return;
        }
        match network {
            Network::Up | Network::Changed => {
                // After the small random spread, unless the attempt starts earlier anyway.
                let soon = now + cx.backoff.up_to(cx.config.spread);
                if cx.out.timers.get(Timer::Retry).is_none_or(|at| soon < at) {
                    self.end_at(now, soon, cx);
                }
            }
            Network::Down if was_down => {}
            Network::Down => {
                // Relative to the start of the wait, so that a flapping network cannot postpone the
                // attempt forever.
                let until = (self.since + cx.backoff.max()).max(now);
                self.end_at(now, until, cx);
            }
        }
    }

    /// The wait has ended.
    pub(super) fn on_timeout(&self) -> Next {
        Next::Dialing
    }

    fn end_at(&self, now: Time, until: Time, cx: &mut Shared) {
        cx.out.timers.set(Timer::Retry, until);
        cx.out.emit(Event::ConnectionScheduled { delay: until - now });
    }
}
