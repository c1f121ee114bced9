//! `/metrics`, for Prometheus. The metrics are declared where they are counted.

use std::sync::Arc;

use fedecks_cloud::serve::Peer;
use fedecks_store::Role;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::caller::Caller;
use super::problem::Problem;
use crate::config::Service;
use crate::metrics::Metrics;
use crate::state::AppState;

/// Needs a token that may read all devices, except at a listener that does not serve the API.
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
    let caller = Caller::authenticate(state, &Method::GET, headers, peer.address.ip())?;
    caller.require_role(Role::Read)?;
    caller.require_all_devices()
}

fn answer(metrics: &Metrics) -> Response {
    // Writing to a string cannot fail.
    let mut response = metrics.text().unwrap_or_default().into_response();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
