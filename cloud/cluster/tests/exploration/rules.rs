//! The times and defences of a world. A tick is 2.5 s.

use std::time::Duration;

use fedecks_cluster::lease::LeaseTimes;

/// When a node may be declared dead, in ticks after its renewal.
pub(crate) const DEAD: i64 = 6;
/// How long the declarer has to have renewed without a long pause.
pub(crate) const WATCH: i64 = 4;
/// Which pause is not a long one.
pub(crate) const PAUSE: i64 = 3;
/// After how many ticks the database aborts an idle transaction.
pub(crate) const IDLE: u64 = 2;

pub(crate) fn times() -> LeaseTimes {
    LeaseTimes {
        interval: Duration::from_secs(2),
        retry: Duration::from_secs(1),
        write: Duration::from_secs(4),
        news: Duration::from_secs(6),
        keep_sessions: Duration::from_secs(24),
    }
}

/// Which defences there are, and what may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// Whether a transaction holds a lock for which a takeover waits.
    pub(crate) lock: bool,
    /// Whether a node looks at its clock before it writes.
    pub(crate) gate: bool,
    /// Whether the database may stop for a while, or restart.
    pub(crate) outages: bool,
    /// Whether the clock of the database may jump.
    pub(crate) jumps: bool,
    /// Whether several nodes serve together.
    pub(crate) several: bool,
}
