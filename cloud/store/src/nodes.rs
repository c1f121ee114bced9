//! Servers that share one store, the lease by which each of them serves, and their trait.

use std::time::Duration;

use crate::boxed::StoreFuture;

/// Stores the servers ("nodes") that share a database. A node serves while it has a lease, which it renews every
/// [`RENEWAL_INTERVAL`]. All times are by the clock of the database, so the clocks of the nodes do not matter.
///
/// A lease ends when its node ends it, or when another node declares the node dead, which it may once
/// - the lease was not renewed for [`DEAD_AFTER`], and
/// - for [`WATCH_TIME`], the other node has itself renewed without a pause. After a restart or a pause of the database
///   server, whose clock continued, that begins again for everyone, so the living can renew first.
///
/// A lease that has ended stays so: its node may begin another one, with a higher epoch.
///
/// Of several nodes that have a lease, the one with the lowest epoch *leads*. As each lease that begins has a higher
/// epoch than all before, a node that leads does so until its lease ends, and no other node leads before that.
pub trait NodeStore: Send + Sync {
    /// Begins a lease with a new epoch, unless [`Admission::Alone`] is wanted and another node has a lease; first
    /// declares dead those that it may. A node that is refused is noted as one that waits, and has to call this again every
    /// [`RENEWAL_INTERVAL`], which counts as its renewals. A lease that this node had before has ended then.
    fn begin_lease<'a>(
        &'a self,
        node: &'a NewNode,
        admission: Admission,
    ) -> StoreFuture<'a, LeaseOutcome>;

    /// Renews a lease.
    fn renew_lease<'a>(&'a self, lease: &'a NodeLease) -> StoreFuture<'a, Renewal>;

    /// Ends a lease, so that another node need not wait. Returns false if it had ended already.
    fn end_lease<'a>(&'a self, lease: &'a NodeLease) -> StoreFuture<'a, bool>;

    /// Ends the leases of those that this node may declare dead, unless its own has ended. Returns them. For nodes that
    /// serve together; [`NodeStore::begin_lease`] does it too.
    fn declare_dead<'a>(&'a self, by: &'a NodeLease) -> StoreFuture<'a, Vec<NodeRecord>>;

    /// Asks a node that has a lease to end in order: it learns so by its next renewal. Returns false if it has none.
    fn drain_node(&self, id: u64) -> StoreFuture<'_, bool>;

    /// Asks the nodes that serve together to spread their sessions evenly: each learns so by its next renewal. Returns how
    /// many it has asked, which does not count those that were asked to end; 0 if there are fewer than two.
    fn rebalance_nodes(&self) -> StoreFuture<'_, u64>;

    /// All nodes, ordered by when they began. Those that have ended are kept for a day, but not more than
    /// [`NodeRecord::MAX_ENDED`].
    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>>;
}

/// How often a node renews its lease, or asks again for one.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// How long after the last renewal a node may be declared dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);

/// For how long a node must have renewed, with no longer pause than [`LONGEST_PAUSE`], before it may declare others
/// dead: two intervals.
pub const WATCH_TIME: Duration = Duration::from_secs(10);

/// After a longer pause between two renewals, [`WATCH_TIME`] begins again. A node that renewed before such a pause
/// has time left to do it after the pause, before it is declared dead.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long after the beginning of its last successful renewal a node commits.
pub const COMMIT_TIME: Duration = Duration::from_secs(10);

/// A node that wants to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store writes it, and one that ignores a new field must not compile"
)]
pub struct NewNode {
    /// Its id, random at first. No other process has it at the same time; one that had it and died is locked out once
    /// this one begins a lease, so that its successor need not wait.
    pub id: u64,
    /// The name for people, such as that of its machine; what is longer than 255 characters is cut off.
    pub name: String,
}

/// Who may serve at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// One node; the others wait.
    Alone,
    /// Several nodes.
    Several,
}

/// What a node has while it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct NodeLease {
    /// Which node.
    pub node: u64,
    /// Higher than that of every lease that began before, of any node.
    pub epoch: u64,
}

/// The outcome of [`NodeStore::begin_lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseOutcome {
    /// The node may serve.
    Begun {
        /// What it has.
        lease: NodeLease,
        /// Whether it leads.
        leads: bool,
    },
    /// Another node has a lease, this one.
    Held(NodeRecord),
}

/// The outcome of [`NodeStore::renew_lease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renewal {
    /// The lease continues.
    Renewed {
        /// Whether the node may declare others dead.
        may_declare: bool,
        /// Whether the node leads.
        leads: bool,
        /// Whether it was asked to end, see [`NodeStore::drain_node`].
        drains: bool,
        /// How often it was asked to spread sessions evenly, see [`NodeStore::rebalance_nodes`].
        rebalances: u64,
    },
    /// The lease has ended. The node must not serve, and may begin another lease.
    Lost,
}

/// A node in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "every store fills it, and one that does not know a new field must not compile"
)]
pub struct NodeRecord {
    /// Its id.
    pub id: u64,
    /// The name for people.
    pub name: String,
    /// The epoch of its latest lease; 0 if it never had one.
    pub epoch: u64,
    /// What it does.
    pub state: NodeState,
    /// Whether it has a lease that admits no other.
    pub alone: bool,
    /// Whether it leads those that have a lease.
    pub leads: bool,
    /// Whether it has a lease and was asked to end, see [`NodeStore::drain_node`].
    pub drains: bool,
    /// When that began, in seconds since 1970-01-01 UTC by the clock of the database.
    pub since: u64,
    /// How long ago it renewed last.
    pub renewed_ago: Duration,
}

impl NodeRecord {
    /// The largest number of nodes that are kept after they have ended.
    pub const MAX_ENDED: u32 = 100;
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// It waits for a lease.
    Waits,
    /// It has a lease.
    Serves,
    /// It ended its lease itself.
    Ended,
    /// Another node declared it dead.
    Dead,
}
