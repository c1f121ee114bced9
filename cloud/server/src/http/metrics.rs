//! `/metrics`, for Prometheus. The metrics are declared where they are counted.

use std::sync::Arc;

use fedecks_cloud::serve::Peer;
use fedecks_store::Role;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::caller::Caller;
use super::problem::Problem;
use crate::config::Service;
use crate::state::AppState;

/// Needs a token that may read all devices, except at a listener that does not serve the API.
pub(crate) fn filter(state: &Arc<AppState>) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    warp::path!("metrics")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .map(move |headers: HeaderMap, peer: Peer| {
            answer(&state, &headers, peer).unwrap_or_else(Reply::into_response)
        })
        .boxed()
}

fn answer(state: &AppState, headers: &HeaderMap, peer: Peer) -> Result<Response, Problem> {
    let listener = state.config.listeners.get(peer.listener);
    if listener.is_none_or(|listener| listener.serves(Service::Api)) {
        let caller = Caller::authenticate(state, &Method::GET, headers, peer.address.ip())?;
        caller.require_role(Role::Read)?;
        caller.require_all_devices()?;
    }
    // Writing to a string cannot fail.
    let mut response = state.metrics.text().unwrap_or_default().into_response();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
