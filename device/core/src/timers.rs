//! Every deadline of the connection, in one small table.

use crate::time::Time;

/// Everything that a connection can wait for. Their order matters: those before [`Timer::Store`] are of a
/// wait, an attempt or a link, and [`Timers::stop_link`] stops them when it ends; the others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The wait before the next attempt is over.
    Retry,
    /// The phase of the attempt has taken too long.
    Phase,
    /// Something should be sent, or something should have been heard.
    Ping,
    /// The answer to a ping is overdue.
    Pong,
    /// The connection has lasted long enough to count as stable.
    Stable,
    /// The token that a login waits for is overdue.
    Token,
    /// The store is to be tried again.
    Store,
    /// The store is to be asked for a token again.
    Load,
}

/// One deadline for each [`Timer`].
#[derive(Debug, Default)]
pub(crate) struct Timers([Option<Time>; 8]);

impl Timers {
    const ALL: [Timer; 8] = [
        Timer::Retry,
        Timer::Phase,
        Timer::Ping,
        Timer::Pong,
        Timer::Stable,
        Timer::Token,
        Timer::Store,
        Timer::Load,
    ];

    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = Some(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops all before [`Timer::Store`].
    pub(crate) fn stop_link(&mut self) {
        self.0[..Timer::Store as usize].fill(None);
    }

    pub(crate) fn get(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes one timer whose deadline has come.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let due = |timer: &Timer| self.get(*timer).is_some_and(|at| at <= now);
        let timer = Self::ALL.into_iter().filter(due).min_by_key(|timer| self.get(*timer))?;
        self.stop(timer);
        Some(timer)
    }
}
