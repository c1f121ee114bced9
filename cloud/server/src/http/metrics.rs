//! `/metrics`, for Prometheus.

use std::sync::Arc;

use fedecks_cloud::serve::Peer;
use fedecks_store::Role;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::auth::Caller;
use super::problem::Problem;
use crate::config::Service;
use crate::metrics::Metrics;
use crate::state::AppState;

/// With a token that may read of all devices, or without one at a listener that has no API.
pub(crate) fn filter(
    state: &Arc<AppState>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let state = state.clone();
    warp::path!("metrics")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .map(move |headers: HeaderMap, peer: Peer| match allowed(&state, &headers, peer) {
            Ok(()) => answer(&state.metrics),
            Err(problem) => problem.into_response(),
        })
}

fn allowed(state: &AppState, headers: &HeaderMap, peer: Peer) -> Result<(), Problem> {
    let listener = state.config.listeners.get(peer.listener);
    if listener.is_some_and(|listener| !listener.serves(Service::Api)) {
        return Ok(());
    }
    let caller = Caller::of(state, &Method::GET, headers, Some(peer.address.ip()))?;
    caller.needs(Role::Read)?;
    caller.needs_all_devices()
}

fn answer(metrics: &Metrics) -> Response {
    let mut response = metrics.text().unwrap_or_default().into_response();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
