//! `/healthz` and `/readyz`, for load balancers and monitoring. They need no token.

use std::sync::Arc;

use fedecks_cluster::lease::Standing;
use fedecks_store::{Clock, StoreMonitor};
use http::StatusCode;
use serde::Serialize;
use tokio::sync::watch;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::reading::reading;
use crate::cluster::{ClusterReadiness, ClusterStatus};
use crate::lease::LeaseState;

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    /// Whether devices may connect. False while the server stops, is isolated or its clock is behind.
    ready: bool,
    /// `ok` or `failing`. Devices with a token connect and talk without the store; logins and changes
    /// fail.
    store: &'static str,
    /// `ok`, or `behind` if the clock is below its floor. Then every device is refused.
    clock: &'static str,
    /// With a database: `held`, or `cut-off` if it could not be renewed in time, so that nothing is stored; `isolated`
    /// if another server renews, so that devices belong there.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<&'static str>,
    /// Among several servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterReadiness>,
}

/// Another server reaches the database, and this one does not.
const ISOLATED: &str = "isolated";

pub(crate) fn filter(
    store: Arc<dyn StoreMonitor>,
    clock: Clock,
    lease: Option<watch::Receiver<LeaseState>>,
    cluster: Option<ClusterStatus>,
    stopping: &watch::Receiver<bool>,
) -> BoxedFilter<(Response,)> {
    let stopping = stopping.clone();
    let alive = warp::path!("healthz").and(reading()).map(|| "ok\n".into_response());
    let ready = warp::path!("readyz").and(reading()).map(move || {
        let behind = clock.below_floor();
        let lease = lease.as_ref().map(|lease| match lease.borrow().standing {
            Standing::Serves { .. } => "held",
            Standing::Isolated | Standing::Drains => ISOLATED,
            _ => "cut-off",
        });
        let ready = !*stopping.borrow() && !behind && lease != Some(ISOLATED);
        let clock = if behind { "behind" } else { "ok" };
        let cluster = cluster.as_ref().map(ClusterStatus::readiness);
        let store = if store.stats().healthy { "ok" } else { "failing" };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        warp::reply::with_status(
            warp::reply::json(&Readiness { ready, store, clock, lease, cluster }),
            status,
        )
        .into_response()
    });
    alive.or(ready).unify().boxed()
}
