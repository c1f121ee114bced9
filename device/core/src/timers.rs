//! Every deadline of the connection, in one small table. What happens at one is in `connection/`.

use crate::time::Time;

/// The timers of a connection. Their order matters: those before [`Timer::Store`] belong to a wait, an
/// attempt or a link, and [`Timers::stop_link`] stops them when it ends; the others continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Start the next attempt.
    Retry,
    /// The current phase of the attempt times out.
    Phase,
    /// Send a ping.
    Ping,
    /// The ping times out.
    Pong,
    /// The connection counts as stable.
    Stable,
    /// Request the token that a login is waiting for.
    Token,
    /// The cloud's session has not shown that it lives.
    Alive,
    /// A request is overdue.
    Request,
    /// An acknowledgement of kept messages from the cloud is due.
    Acknowledge,
    /// Retry to save or delete the token.
    Store,
    /// Retry to load the token.
    Load,
    /// A kept message expires.
    Expiry,
    /// Something is to be done with the queue on disk.
    Queue,
}

/// One deadline for each [`Timer`].
#[derive(Debug, Default)]
pub(crate) struct Timers([Option<Time>; 13]);

impl Timers {
    const ALL: [Timer; 13] = [
        Timer::Retry,
        Timer::Phase,
        Timer::Ping,
        Timer::Pong,
        Timer::Stable,
        Timer::Token,
        Timer::Alive,
        Timer::Request,
        Timer::Acknowledge,
        Timer::Store,
        Timer::Load,
        Timer::Expiry,
        Timer::Queue,
    ];

    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = Some(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops every timer before [`Timer::Store`].
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

    /// Stops the timer with the earliest deadline and returns it, if that has passed.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let due = |timer: &Timer| self.get(*timer).is_some_and(|at| at <= now);
        let timer = Self::ALL.into_iter().filter(due).min_by_key(|timer| self.get(*timer))?;
        self.stop(timer);
        Some(timer)
    }
}
