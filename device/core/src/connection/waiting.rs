//! Between two attempts: when the next one comes, and what news of the network change about that.

use super::next::Next;
use super::retry_policy::Retry;
use super::shared::Shared;
use crate::event::Event;
use crate::time::Time;
use crate::timers::Timer;
use crate::watch::Network;

#[derive(Debug)]
pub(super) struct Waiting {
    /// The cloud asked for this wait, or it goes with what the cloud said: no network event
    /// shortens it.
    ordered: bool,
    since: Time,
}

impl Waiting {
    pub(super) fn begin(now: Time, retry: Retry, cx: &mut Shared) -> Self {
        let delay = retry.delay(cx);
        let it = Self { ordered: retry.is_ordered(), since: now };
        it.end_at(now, now + delay, cx);
        it
    }

    /// A network that is back, or another one, ends the back-off; one that is gone makes it the
    /// longest.
    pub(super) fn on_network(&self, now: Time, network: Network, was_down: bool, cx: &mut Shared) {
        if self.ordered {
            return;
        }
        match network {
            Network::Up | Network::Changed => {
                // After the small random spread, if not before.
                let soon = now + cx.backoff.up_to(cx.config.spread);
                if cx.out.timers.get(Timer::Retry).is_none_or(|at| soon < at) {
                    self.end_at(now, soon, cx);
                }
            }
            Network::Down if was_down => {}
            Network::Down => {
                // Counted from when the wait began, so that a network that comes and goes does not
                // put the attempt off for ever.
                let until = (self.since + cx.backoff.longest()).max(now);
                self.end_at(now, until, cx);
            }
        }
    }

    /// The wait is over.
    pub(super) fn on_timeout(&self) -> Next {
        Next::Dialing
    }

    fn end_at(&self, now: Time, until: Time, cx: &mut Shared) {
        cx.out.timers.set(Timer::Retry, until);
        cx.out.emit(Event::ConnectionScheduled { delay: until - now });
    }
}
