//! Tests of leases with a real server. Time passes by moving the times of nodes back.

use deadpool_postgres::Object;

use crate::accounts::AccountStore;
use crate::boxed::StoreFuture;
use crate::conformance::support::{cli, device, until};
use crate::devices::DeviceStore;
use crate::error::StoreError;
use crate::nodes::{
    Admission, LeaseOutcome, NewNode, NodeLease, NodeRecord, NodeState, NodeStore, Renewal,
};
use crate::postgres::call::hold_lease;
use crate::postgres::lease_gate::LeaseGate;
use crate::postgres::store::{PostgresOptions, PostgresStore};
use crate::postgres::test_server::TestServer;
use crate::postgres::tests::server;
use crate::postgres::{connection, location::Location};
use crate::stats::StoreMonitor;

/// Makes a call again while the machine is too slow for its deadline.
pub(super) async fn patiently<'a, T>(call: impl Fn() -> StoreFuture<'a, T>) -> T {
    for _ in 0..20 {
        match call().await {
            Err(StoreError::Busy { .. }) => {}
            result => return result.unwrap(),
        }
    }
    panic!("the store stays busy");
}

/// A connection as the store has them, of a process that is stopped before it commits the account `marvin`.
pub(super) async fn stopped_before_commit(
    server: &TestServer,
    database: &str,
    lease: NodeLease,
) -> Object {
    let location = Location::parse(&server.url(database)).unwrap();
    let pool = connection::pool(&location, 1, None).unwrap();
    let stopped = pool.get().await.unwrap();
    let hold = format!("BEGIN; SELECT {}", hold_lease(lease));
    stopped.batch_execute(&hold).await.unwrap();
    let add = "INSERT INTO accounts VALUES ('marvin', 'hash', 0)";
    stopped.batch_execute(add).await.unwrap();
    stopped
}

/// A database, and the stores of three nodes.
pub(super) struct Cluster<S> {
    server: S,
    database: String,
    pub(super) stores: [PostgresStore; 3],
}

impl<S: std::ops::Deref<Target = TestServer>> Cluster<S> {
    pub(super) async fn new(server: S) -> Self {
        let database = server.database().await;
        let url = server.url(&database);
        let options = PostgresOptions::default().with(|it| it.needs_lease = true);
        let open = || async { PostgresStore::open(&url, options).await.unwrap() };
        let stores = [open().await, open().await, open().await];
        Self { server, database, stores }
    }

    pub(super) async fn run(&self, sql: &str) {
        self.server.run(&self.database, sql).await;
    }

    pub(super) async fn begin(&self, node: usize, admission: Admission) -> LeaseOutcome {
        // All 64 bits of an id are used.
        let new = NewNode { id: u64::MAX - node as u64, name: format!("node {node}") };
        patiently(|| self.stores[node].begin_lease(&new, admission)).await
    }

    /// The lease that a node must get.
    pub(super) async fn begun(&self, node: usize) -> NodeLease {
        match self.begin(node, Admission::Alone).await {
            LeaseOutcome::Begun { lease, .. } => lease,
            held @ LeaseOutcome::Held(_) => panic!("{held:?}"),
        }
    }

    /// Who keeps a node from serving alone.
    pub(super) async fn holder(&self, node: usize) -> NodeRecord {
        match self.begin(node, Admission::Alone).await {
            LeaseOutcome::Held(holder) => holder,
            begun @ LeaseOutcome::Begun { .. } => panic!("{begun:?}"),
        }
    }

    /// Has a node wait, with renewals that began a minute ago.
    pub(super) async fn wait_steadily(&self, node: usize) {
        self.holder(node).await;
        let sql =
            "UPDATE nodes SET steady_since = renewed_at - interval '1 min' WHERE name = 'node";
        self.run(&format!("{sql} {node}'")).await;
    }

    /// The last renewal of this node was 20 s earlier than it was.
    pub(super) async fn age(&self, node: usize) {
        let sql = "UPDATE nodes SET renewed_at = renewed_at - interval '20 s' WHERE name = 'node";
        self.run(&format!("{sql} {node}'")).await;
    }

    pub(super) async fn renew(&self, node: usize, lease: &NodeLease) -> Renewal {
        patiently(|| self.stores[node].renew_lease(lease)).await
    }

    /// Ends a lease that has not ended.
    async fn end(&self, node: usize, lease: &NodeLease) {
        let first = self.stores[node].end_lease(lease).await;
        // Without an answer it may have ended.
        if !first.is_ok_and(|ended| ended) {
            assert_eq!(self.renew(node, lease).await, Renewal::Lost);
        }
    }

    async fn states(&self) -> Vec<(String, u64, NodeState)> {
        let nodes = patiently(|| self.stores[0].nodes()).await;
        let mut nodes: Vec<_> =
            nodes.into_iter().map(|node| (node.name, node.epoch, node.state)).collect();
        nodes.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        nodes
    }
}

#[tokio::test]
async fn a_second_node_serves_after_the_first_one_has_ended() {
    let cluster = Cluster::new(server!()).await;
    let first = cluster.begun(0).await;
    let holder = cluster.holder(1).await;
    assert_eq!((holder.id, holder.epoch), (first.node, first.epoch));
    assert_eq!((&holder.name[..], holder.state), ("node 0", NodeState::Serves));
    assert!(matches!(cluster.renew(0, &first).await, Renewal::Renewed { may_declare: false, .. }));
    cluster.end(0, &first).await;
    assert!(!patiently(|| cluster.stores[0].end_lease(&first)).await);
    assert_eq!(cluster.renew(0, &first).await, Renewal::Lost);
    let second = cluster.begun(1).await;
    assert!(second.epoch > first.epoch);
    let states = [
        ("node 0".to_owned(), first.epoch, NodeState::Ended),
        ("node 1".to_owned(), second.epoch, NodeState::Serves),
    ];
    assert_eq!(cluster.states().await, states);
}

#[tokio::test]
async fn a_node_that_died_is_replaced_and_stays_out() {
    let cluster = Cluster::new(server!()).await;
    let first = cluster.begun(0).await;
    cluster.holder(1).await;
    cluster.age(0).await;
    let holder = cluster.holder(1).await;
    assert!(holder.renewed_ago.as_secs() >= 20, "node 1 has not watched long enough: {holder:?}");
    let second = loop {
        cluster.wait_steadily(1).await;
        if let LeaseOutcome::Begun { lease, .. } = cluster.begin(1, Admission::Alone).await {
            break lease;
        }
    };
    assert!(second.epoch > first.epoch);
    assert_eq!(cluster.renew(0, &first).await, Renewal::Lost);
    assert_eq!(cluster.states().await[0].2, NodeState::Dead);
    assert!(!patiently(|| cluster.stores[0].end_lease(&first)).await);
    assert_eq!(cluster.holder(0).await.epoch, second.epoch);
    cluster.end(1, &second).await;
    let third = cluster.begun(0).await;
    assert!(third.epoch > second.epoch);
    assert_eq!(cluster.renew(0, &first).await, Renewal::Lost);
}

#[tokio::test]
async fn a_late_renewal_counts_if_no_one_was_faster() {
    let cluster = Cluster::new(server!()).await;
    let lease = cluster.begun(0).await;
    cluster.age(0).await;
    assert!(matches!(cluster.renew(0, &lease).await, Renewal::Renewed { .. }));
    cluster.wait_steadily(1).await;
    assert_eq!(cluster.holder(1).await.epoch, lease.epoch);
}

#[tokio::test]
async fn of_two_that_wait_one_takes_over() {
    let cluster = Cluster::new(server!()).await;
    let mut last = cluster.begun(0).await.epoch;
    let mut serves = 0;
    for _ in 0..10 {
        let waiting = [(serves + 1) % 3, (serves + 2) % 3];
        for node in waiting {
            cluster.wait_steadily(node).await;
        }
        cluster.age(serves).await;
        let began = loop {
            let [one, other] = waiting.map(|node| cluster.begin(node, Admission::Alone));
            match tokio::join!(one, other) {
                (LeaseOutcome::Begun { lease, .. }, LeaseOutcome::Held(holder)) => {
                    assert!([last, lease.epoch].contains(&holder.epoch));
                    break (waiting[0], lease);
                }
                (LeaseOutcome::Held(holder), LeaseOutcome::Begun { lease, .. }) => {
                    assert!([last, lease.epoch].contains(&holder.epoch));
                    break (waiting[1], lease);
                }
                (LeaseOutcome::Held(one), LeaseOutcome::Held(other)) => {
                    assert_eq!((one.epoch, other.epoch), (last, last));
                    // This machine is so slow that both have to begin to watch again.
                    let steady = "UPDATE nodes SET steady_since = renewed_at - interval '1 min'";
                    cluster.run(steady).await;
                }
                both => panic!("{both:?}"),
            }
        };
        assert!(began.1.epoch > last);
        (serves, last) = (began.0, began.1.epoch);
        let serving = cluster.states().await.into_iter().filter(|it| it.2 == NodeState::Serves);
        assert_eq!(serving.count(), 1);
    }
}

#[tokio::test]
async fn after_a_restart_of_the_database_the_living_go_on() {
    let Some(server) = TestServer::new() else { return };
    let cluster = Cluster::new(Box::new(server)).await;
    let first = cluster.begun(0).await;
    cluster.wait_steadily(1).await;
    cluster.server.stop("KILL");
    cluster.server.start();
    // As if it had been away for that long.
    cluster.age(0).await;
    assert_eq!(cluster.holder(1).await.epoch, first.epoch);
    assert!(matches!(cluster.renew(0, &first).await, Renewal::Renewed { .. }));
    cluster.wait_steadily(1).await;
    assert_eq!(cluster.holder(1).await.epoch, first.epoch);
    cluster.end(0, &first).await;
    let second = cluster.begun(1).await;
    assert!(second.epoch > first.epoch);
    cluster.server.stop("KILL");
    cluster.server.start();
    assert!(matches!(cluster.renew(1, &second).await, Renewal::Renewed { .. }));
    cluster.end(1, &second).await;
    assert!(cluster.begun(0).await.epoch > second.epoch);
}

#[tokio::test]
async fn who_was_paused_with_the_database_declares_no_one_dead() {
    let cluster = Cluster::new(server!()).await;
    let lease = cluster.begun(0).await;
    cluster.wait_steadily(1).await;
    cluster.run("UPDATE nodes SET renewed_at = renewed_at - interval '20 s'").await;
    assert_eq!(cluster.holder(1).await.epoch, lease.epoch);
    assert!(matches!(cluster.renew(0, &lease).await, Renewal::Renewed { may_declare: false, .. }));
}

#[tokio::test]
async fn a_clock_that_went_back_delays_no_one_for_long() {
    let cluster = Cluster::new(server!()).await;
    cluster.begun(0).await;
    cluster.run("UPDATE nodes SET renewed_at = renewed_at + interval '1 hour'").await;
    cluster.holder(1).await;
    cluster.age(0).await;
    let nodes = patiently(|| cluster.stores[1].nodes()).await;
    let died = nodes.iter().find(|node| node.name == "node 0").unwrap();
    assert!(died.renewed_ago.as_secs() >= 20, "{died:?}");
}

/// Whether a change is refused for want of a lease.
async fn is_refused(store: &PostgresStore, id: &str) -> bool {
    match store.block(&device(id), &cli()).await {
        Ok(_) => false,
        Err(StoreError::NoLease { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn without_a_lease_nothing_is_written() {
    let cluster = Cluster::new(server!()).await;
    let store = &cluster.stores[0];
    assert!(is_refused(store, "a").await);
    store.seen(&device("noted"), 0, 7, false);
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    let lease = cluster.begun(0).await;
    assert!(!is_refused(store, "b").await);
    until(async || (store.stats().waiting == 0).then_some(())).await;

    // The gate is open, but the database knows better.
    loop {
        assert!(matches!(cluster.renew(0, &lease).await, Renewal::Renewed { .. }));
        cluster.run("UPDATE nodes SET state = 3").await;
        assert!(is_refused(store, "c").await);
        if store.lease_gate().and_then(LeaseGate::lease).is_some() {
            break;
        }
        cluster.run("UPDATE nodes SET state = 1").await;
    }
    assert_eq!(cluster.renew(0, &lease).await, Renewal::Lost);
    assert!(store.lease_gate().and_then(LeaseGate::lease).is_none());
    assert!(is_refused(store, "c").await);
    cluster.begun(0).await;
    assert!(!is_refused(store, "d").await);

    let ids: Vec<_> = ["a", "b", "c", "d", "noted"].map(device).into();
    let known = store.devices_by_id(&ids).await.unwrap();
    let known: Vec<_> = known.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(known, ["b", "d", "noted"]);
}

#[tokio::test]
async fn the_gate_may_close_while_a_change_is_made() {
    let cluster = Cluster::new(server!()).await;
    let store = &cluster.stores[0];
    let lease = cluster.begun(0).await;
    let other = cluster.server.connect(&cluster.database).await;
    let lock = "BEGIN; LOCK TABLE devices IN SHARE MODE";
    other.batch_execute(lock).await.unwrap();
    let close = async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted
            AND relation = 'devices'::regclass";
        until(async || {
            let row = other.query_one(waits, &[]).await.unwrap();
            (row.get::<_, i64>(0) > 0).then_some(())
        })
        .await;
        store.lease_gate().unwrap().close(lease);
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (refused, ()) = tokio::join!(is_refused(store, "a"), close);
    assert!(refused);
    assert_eq!(store.device(&device("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_stopped_process_commits_nothing_after_a_takeover() {
    let cluster = Cluster::new(server!()).await;
    let lease = cluster.begun(0).await;
    let stopped = stopped_before_commit(&cluster.server, &cluster.database, lease).await;
    cluster.age(0).await;
    let other = NewNode { id: 7, name: "node 1".to_owned() };
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let steady = "UPDATE nodes SET steady_since = renewed_at - interval '1 min'
            WHERE name = 'node 1'";
        cluster.run(steady).await;
        match cluster.stores[1].begin_lease(&other, Admission::Alone).await {
            Ok(LeaseOutcome::Begun { .. }) => break,
            Ok(_) | Err(StoreError::Busy { .. }) => assert!(tokio::time::Instant::now() < until),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stopped.batch_execute("COMMIT").await.is_err(), "the database has aborted it");
    assert_eq!(cluster.stores[1].password_hash("marvin").await.unwrap(), None);
    assert!(!is_refused(&cluster.stores[1], "a").await);
    assert!(is_refused(&cluster.stores[0], "b").await);
}

#[tokio::test]
async fn a_closed_store_has_written_its_notes_and_waits_for_no_one() {
    let cluster = Cluster::new(server!()).await;
    cluster.begun(0).await;
    let [first, second, _] = cluster.stores;
    first.seen(&device("a"), 0, 7, false);
    first.close().await;
    let seen = second.device(&device("a")).await.unwrap().unwrap();
    assert_eq!(seen.last_seen, Some(7));
    let node = NewNode { id: 7, name: "é".repeat(300) };
    let begun = second.begin_lease(&node, Admission::Alone).await.unwrap();
    assert!(matches!(begun, LeaseOutcome::Begun { .. }), "{begun:?}");
    let nodes = second.nodes().await.unwrap();
    assert!(nodes.iter().any(|node| node.name == "é".repeat(255)), "{nodes:?}");
}
