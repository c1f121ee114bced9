//! What this server knows of its place among several, for `/readyz` and `/metrics`.

use std::fmt;
use std::sync::Arc;

use fedecks_cloud::Denylist;
use fedecks_cluster::lease::Standing;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use serde::Serialize;
use tokio::sync::watch;

use super::{Joined, Peers};
use crate::lease::LeaseState;
use crate::metrics::{MetricSource, MetricsWriter};

/// Clones share the same state.
#[derive(Clone)]
pub(crate) struct ClusterStatus {
    pub(crate) lease: watch::Receiver<LeaseState>,
    pub(crate) peers: Peers,
    pub(crate) denylist: Denylist,
    pub(crate) joined: Arc<Joined>,
}

/// In the body of `/readyz`.
#[derive(Serialize)]
pub(crate) struct ClusterReadiness {
    /// Whether this server delivers to webhooks and deletes what is old, for all.
    leads: bool,
    /// Of its lease.
    epoch: Option<u64>,
    /// `connected`, or `away`: then devices that are connected to other servers cannot be reached from here.
    backplane: &'static str,
    /// How many other servers have renewed their lease a short time ago, as they say.
    others: usize,
    /// How long ago revocations and blocks were last read.
    access_age_seconds: u64,
}

impl ClusterStatus {
    pub(crate) fn readiness(&self) -> ClusterReadiness {
        let state = *self.lease.borrow();
        ClusterReadiness {
            leads: state.leads,
            epoch: epoch(state),
            backplane: if self.joined.is_connected() { "connected" } else { "away" },
            others: self.peers.count(),
            access_age_seconds: self.denylist.age().as_secs(),
        }
    }
}

/// The epoch of a lease that is held.
fn epoch(state: LeaseState) -> Option<u64> {
    match state.standing {
        Standing::Serves { epoch } => Some(epoch),
        _ => None,
    }
}

impl MetricSource for ClusterStatus {
    fn collect(&self, to: &mut MetricsWriter<'_>) -> fmt::Result {
        let state = *self.lease.borrow();
        let epoch = epoch(state);
        let help = "1 if this server has its lease, so that it stores something";
        to.gauge("node_lease_held", help, u64::from(epoch.is_some()))?;
        to.gauge("node_epoch", "The epoch of its lease, 0 without one", epoch.unwrap_or(0))?;
        let help =
            "1 if this server does what one does for all: deliver to webhooks, delete what is old";
        to.gauge("node_leads", help, u64::from(state.leads))?;
        let help = "1 if it is connected to the other servers by NATS";
        to.gauge("backplane_connected", help, u64::from(self.joined.is_connected()))?;
        let help = "Other servers that have renewed their lease in the last 15 s, as they say";
        to.gauge("node_others", help, self.peers.count() as u64)?;
        let help = "How long ago revocations and blocks were last read from the store";
        let age = ConstGauge::new(self.denylist.age().as_secs_f64());
        to.metric("access_age", Some(Unit::Seconds), help, &age)
    }
}
