//! Tests of several nodes that serve together, with a real server. Time passes by moving the times of nodes back.

use super::tests::Cluster;
use crate::nodes::{Admission, LeaseOutcome, NodeLease, NodeState, NodeStore, Renewal};
use crate::postgres::test_server::TestServer;
use crate::postgres::tests::server;

impl<S: std::ops::Deref<Target = TestServer>> Cluster<S> {
    /// The lease that a node must get, and whether it leads.
    async fn joins(&self, node: usize) -> (NodeLease, bool) {
        match self.begin(node, Admission::Several).await {
            LeaseOutcome::Begun { lease, leads } => (lease, leads),
            held @ LeaseOutcome::Held(_) => panic!("{held:?}"),
        }
    }

    /// Which node keeps it from serving with others, by its epoch.
    async fn refuses(&self, node: usize) -> u64 {
        match self.begin(node, Admission::Several).await {
            LeaseOutcome::Held(holder) => holder.epoch,
            begun @ LeaseOutcome::Begun { .. } => panic!("{begun:?}"),
        }
    }

    async fn leads(&self, node: usize, lease: &NodeLease) -> bool {
        match self.renew(node, lease).await {
            Renewal::Renewed { leads, .. } => leads,
            Renewal::Lost => panic!("the lease of node {node} has ended"),
        }
    }

    /// Has a node that serves have renewed for a minute.
    async fn steady(&self, node: usize) {
        let sql =
            "UPDATE nodes SET steady_since = renewed_at - interval '1 min' WHERE name = 'node";
        self.run(&format!("{sql} {node}'")).await;
    }

    /// Which nodes lead, by the list.
    async fn leaders(&self) -> Vec<String> {
        let nodes = self.stores[2].nodes().await.unwrap();
        nodes.into_iter().filter(|node| node.leads).map(|node| node.name).collect()
    }
}

#[tokio::test]
async fn the_first_of_several_leads_until_its_lease_ends() {
    let cluster = Cluster::new(server!()).await;
    let (first, leads) = cluster.joins(0).await;
    assert!(leads);
    let (second, leads) = cluster.joins(1).await;
    assert!(!leads && second.epoch > first.epoch);
    assert!(cluster.leads(0, &first).await && !cluster.leads(1, &second).await);
    assert_eq!(cluster.leaders().await, ["node 0"]);
    assert!(cluster.stores[0].end_lease(&first).await.unwrap());
    assert!(cluster.leads(1, &second).await);
    // One that comes back is the last one.
    let (again, leads) = cluster.joins(0).await;
    assert!(!leads && again.epoch > second.epoch);
    assert!(cluster.leads(1, &second).await && !cluster.leads(0, &again).await);
    assert_eq!(cluster.leaders().await, ["node 1"]);
}

#[tokio::test]
async fn who_serves_alone_and_several_exclude_each_other() {
    let cluster = Cluster::new(server!()).await;
    let leases = [cluster.joins(0).await.0, cluster.joins(1).await.0];
    let holder = cluster.holder(2).await;
    assert!(leases.iter().any(|lease| lease.epoch == holder.epoch), "{holder:?}");
    for (node, lease) in leases.iter().enumerate() {
        assert!(cluster.stores[node].end_lease(lease).await.unwrap());
    }
    let alone = cluster.begun(2).await;
    assert!(cluster.leads(2, &alone).await);
    assert_eq!([cluster.refuses(0).await, cluster.refuses(1).await], [alone.epoch; 2]);
    assert_eq!(cluster.leaders().await, ["node 2"]);
    assert!(cluster.stores[2].end_lease(&alone).await.unwrap());
    assert!(cluster.joins(1).await.1);
}

#[tokio::test]
async fn a_dead_leader_is_replaced_by_the_next_one() {
    let cluster = Cluster::new(server!()).await;
    let [(first, _), (second, _), (third, _)] =
        [cluster.joins(0).await, cluster.joins(1).await, cluster.joins(2).await];
    cluster.age(0).await;
    // None of them has watched for long enough.
    assert_eq!(cluster.stores[1].declare_dead(&second).await.unwrap(), []);
    assert!(!cluster.leads(1, &second).await);
    for node in [1, 2] {
        cluster.steady(node).await;
    }
    // At the same time, and only one of them finds the other one dead.
    let [one, other] =
        [(1, &second), (2, &third)].map(|(at, it)| cluster.stores[at].declare_dead(it));
    let (one, other) = tokio::join!(one, other);
    let dead = [one.unwrap(), other.unwrap()].concat();
    assert_eq!(dead.iter().map(|it| it.epoch).collect::<Vec<_>>(), [first.epoch]);
    assert_eq!(dead[0].state, NodeState::Dead);
    assert!(cluster.leads(1, &second).await && !cluster.leads(2, &third).await);
    assert_eq!(cluster.renew(0, &first).await, Renewal::Lost);
    // It may do nothing more, not even declare others dead.
    for node in [1, 2] {
        cluster.age(node).await;
    }
    cluster.steady(0).await;
    assert_eq!(cluster.stores[0].declare_dead(&first).await.unwrap(), []);
    assert_eq!(cluster.leaders().await, ["node 1"]);
}

#[tokio::test]
async fn nodes_that_serve_together_learn_how_often_to_rebalance() {
    let cluster = Cluster::new(server!()).await;
    let store = &cluster.stores[2];
    assert_eq!(store.rebalance_nodes().await.unwrap(), 0);
    let first = cluster.joins(0).await.0;
    assert_eq!(store.rebalance_nodes().await.unwrap(), 0, "there is nowhere to move sessions");
    let second = cluster.joins(1).await.0;
    let asked = async |node: usize, lease| match cluster.renew(node, lease).await {
        Renewal::Renewed { rebalances, .. } => rebalances,
        lost => panic!("{lost:?}"),
    };
    assert_eq!((asked(0, &first).await, asked(1, &second).await), (0, 0));
    assert_eq!(store.rebalance_nodes().await.unwrap(), 2);
    // Where an answer was lost, the next one says the same.
    assert_eq!((asked(0, &first).await, asked(0, &first).await), (1, 1));
    assert_eq!(store.rebalance_nodes().await.unwrap(), 2);
    assert_eq!((asked(0, &first).await, asked(1, &second).await), (2, 2));
    assert!(store.drain_node(second.node).await.unwrap());
    assert_eq!(store.rebalance_nodes().await.unwrap(), 0, "one stays");
    assert_eq!(asked(0, &first).await, 2);
    // One that starts again was not asked.
    let again = cluster.joins(0).await.0;
    assert_eq!(asked(0, &again).await, 0);
}

#[tokio::test]
async fn a_node_that_is_drained_learns_it_once_it_renews() {
    let cluster = Cluster::new(server!()).await;
    let (first, second) = (cluster.joins(0).await.0, cluster.joins(1).await.0);
    let store = &cluster.stores[2];
    assert!(store.drain_node(first.node).await.unwrap());
    assert!(store.drain_node(first.node).await.unwrap(), "it has not ended yet");
    assert!(!store.drain_node(7).await.unwrap(), "the node is unknown");
    assert!(matches!(cluster.renew(0, &first).await, Renewal::Renewed { drains: true, .. }));
    assert!(matches!(cluster.renew(1, &second).await, Renewal::Renewed { drains: false, .. }));
    let drained = |nodes: Vec<crate::nodes::NodeRecord>| {
        nodes.into_iter().filter(|it| it.drains).map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(drained(store.nodes().await.unwrap()), [first.node]);
    assert!(cluster.stores[0].end_lease(&first).await.unwrap());
    assert!(!store.drain_node(first.node).await.unwrap(), "it has ended");
    assert!(drained(store.nodes().await.unwrap()).is_empty());
    // The next start begins without it.
    let again = cluster.joins(0).await.0;
    assert!(matches!(cluster.renew(0, &again).await, Renewal::Renewed { drains: false, .. }));
}
