//! A node's own lease: when it asks the database for it, and what it may do.
//!
//! Its times are on the node's clock, from any origin; it has to go on while the machine is suspended.

use std::time::Duration;

/// The times of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "settings, which tests make smaller")]
pub struct LeaseTimes {
    /// From the beginning of a call to that of the next one.
    pub interval: Duration,
    /// The same after a call without an answer.
    pub retry: Duration,
    /// How long a node writes after the beginning of its last successful renewal. Less than the time after which
    /// others may declare it dead.
    pub write: Duration,
    /// For how long the news that others renew counts.
    pub news: Duration,
    /// How long a node that is cut off from the database, while others are not, keeps its sessions.
    pub keep_sessions: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            retry: Duration::from_secs(1),
            write: Duration::from_secs(10),
            news: Duration::from_secs(15),
            keep_sessions: Duration::from_secs(60),
        }
    }
}

/// A call to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Begin a lease. The answer is [`OwnLease::on_begun`], [`OwnLease::on_held`] or [`OwnLease::on_failed`].
    Begin,
    /// Renew the lease of this epoch. The answer is [`OwnLease::on_renewed`], [`OwnLease::on_lost`] or
    /// [`OwnLease::on_failed`].
    Renew {
        /// Which lease.
        epoch: u64,
    },
}

/// What a node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// It has no lease and does not serve. If it had one, that is lost: sessions that began under it end, or are
    /// registered again under the next one before anything is written.
    Waits,
    /// It serves and writes under the lease of this epoch.
    Serves {
        /// Higher than that of each earlier lease of any node.
        epoch: u64,
    },
    /// It could not renew in time, and no other node is known to renew. It continues as one node does whose store
    /// fails: sessions stay and devices come back, but it acknowledges nothing.
    CutOff,
    /// It could not renew in time, but others do: it is not ready, and refuses new sessions.
    Isolated,
    /// It is isolated for so long that it closes its sessions, at the rate of a drain, so that devices go elsewhere.
    Drains,
}

/// The lease of a node that asks for it once it was made, and whenever it was lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnLease {
    times: LeaseTimes,
    lease: Option<Held>,
    calling: Option<Duration>,
    due: Duration,
    isolation: Option<Isolation>,
}

/// A lease that is not known to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Held {
    epoch: u64,
    /// When the last successful call began.
    renewed: Duration,
    may_declare: bool,
    leads: bool,
}

/// Others renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Isolation {
    since: Duration,
    last_news: Duration,
}

impl OwnLease {
    /// Without a lease.
    pub fn new(times: LeaseTimes, now: Duration) -> Self {
        Self { times, lease: None, calling: None, due: now, isolation: None }
    }

    /// The next call, and when it is due; `None` while one has no answer yet.
    pub fn next_call(&self) -> Option<(Duration, Call)> {
        let call = match self.lease {
            None => Call::Begin,
            Some(Held { epoch, .. }) => Call::Renew { epoch },
        };
        self.calling.is_none().then_some((self.due, call))
    }

    /// The call is being made.
    pub fn on_calling(&mut self, now: Duration) {
        self.calling = Some(now);
        self.due = now.saturating_add(self.times.interval);
    }

    /// A lease has begun; `leads` is whether the database says that this node leads.
    pub fn on_begun(&mut self, epoch: u64, leads: bool) {
        let Some(renewed) = self.calling.take() else { return };
        self.lease = Some(Held { epoch, renewed, may_declare: false, leads });
        self.isolation = None;
    }

    /// Another node has a lease.
    pub fn on_held(&mut self) {
        self.calling = None;
    }

    /// The lease was renewed. The database says whether this node may declare others dead, and whether it leads.
    pub fn on_renewed(&mut self, may_declare: bool, leads: bool) {
        let (Some(renewed), Some(lease)) = (self.calling.take(), &mut self.lease) else { return };
        lease.renewed = renewed;
        lease.may_declare = may_declare;
        lease.leads = leads;
        self.isolation = None;
    }

    /// The lease has ended. The next one is asked for at once.
    pub fn on_lost(&mut self, now: Duration) {
        self.calling = None;
        self.lease = None;
        self.isolation = None;
        self.due = now;
    }

    /// The call has no answer, or an error: whether it was done is not known.
    pub fn on_failed(&mut self, now: Duration) {
        let Some(began) = self.calling.take() else { return };
        self.due = now.max(began.saturating_add(self.times.retry));
        if let Some(lease) = &mut self.lease {
            lease.may_declare = false;
        }
    }

    /// The backplane has news that another node has just renewed its lease.
    pub fn on_other_renewed(&mut self, now: Duration) {
        if self.lease.is_none_or(|lease| self.is_in_time(lease, now)) {
            return;
        }
        let before = self.isolation.filter(|it| self.is_news(*it, now));
        let since = before.map_or(now, |before| before.since);
        self.isolation = Some(Isolation { since, last_news: now });
    }

    /// What the node may do now.
    pub fn standing(&self, now: Duration) -> Standing {
        let Some(lease) = self.lease else { return Standing::Waits };
        if self.is_in_time(lease, now) {
            return Standing::Serves { epoch: lease.epoch };
        }
        match self.isolation.filter(|it| self.is_news(*it, now)) {
            None => Standing::CutOff,
            Some(it) if now >= it.since.saturating_add(self.times.keep_sessions) => {
                Standing::Drains
            }
            Some(_) => Standing::Isolated,
        }
    }

    /// When [`OwnLease::standing`] changes if nothing happens until then.
    pub fn changes_at(&self, now: Duration) -> Option<Duration> {
        let Held { renewed, .. } = self.lease?;
        let write = renewed.saturating_add(self.times.write);
        let isolation = self.isolation.map_or([write, write], |it| {
            let drains = it.since.saturating_add(self.times.keep_sessions);
            [drains, it.last_news.saturating_add(self.times.news)]
        });
        [write].into_iter().chain(isolation).filter(|at| *at > now).min()
    }

    /// Whether this node leads now: it has the lowest epoch of all leases, and may write.
    pub fn leads(&self, now: Duration) -> bool {
        self.lease.is_some_and(|lease| lease.leads && self.is_in_time(lease, now))
    }

    /// Whether this node may declare others dead now.
    pub fn may_declare(&self, now: Duration) -> bool {
        self.lease.is_some_and(|lease| lease.may_declare && self.is_in_time(lease, now))
    }

    fn is_in_time(&self, lease: Held, now: Duration) -> bool {
        now < lease.renewed.saturating_add(self.times.write)
    }

    fn is_news(&self, isolation: Isolation, now: Duration) -> bool {
        now < isolation.last_news.saturating_add(self.times.news)
    }
}
