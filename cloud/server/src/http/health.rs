//! `/healthz` and `/readyz`, for balancers and for whoever watches the server.

use std::sync::Arc;

use fedecks_store::StoreMonitor;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::watch;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

/// Whether the server does its work, for balancers and for whoever watches it.
#[derive(Serialize)]
struct Readiness {
    /// Whether devices are let in. Not while the server ends.
    ready: bool,
    /// `ok` or `failing`. Devices that have a token come and talk without it; logins, and what changes
    /// something, do not work.
    store: &'static str,
}

/// `/healthz` and `/readyz`, which need no token.
pub(crate) fn filter(
    store: Arc<dyn StoreMonitor>,
    stopping: &watch::Receiver<bool>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let stopping = stopping.clone();
    let alive = warp::path!("healthz").and(warp::get()).map(|| "ok\n".into_response());
    let ready = warp::path!("readyz").and(warp::get()).map(move || {
        let ready = !*stopping.borrow();
        let store = if store.stats().healthy { "ok" } else { "failing" };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        warp::reply::with_status(warp::reply::json(&Readiness { ready, store }), status)
            .into_response()
    });
    alive.or(ready).unify()
}
