//! `/metrics`, for Prometheus. The metrics are declared where they are counted.

use std::sync::Arc;

use fedecks_cloud::serve::Peer;
use fedecks_store::Role;
use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::accept;
use super::caller::Caller;
use super::problem::Problem;
use super::reading::reading;
use crate::config::Service;
use crate::state::AppState;

/// Needs a token that may read all devices, except at a listener that does not serve the API.
pub(crate) fn filter(state: &Arc<AppState>) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    warp::path!("metrics")
        .and(reading())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .map(move |headers: HeaderMap, peer: Peer| {
            answer(&state, &headers, &peer).unwrap_or_else(Reply::into_response)
        })
        .boxed()
}

fn answer(state: &AppState, headers: &HeaderMap, peer: &Peer) -> Result<Response, Problem> {
    let listener = state.config.listeners.get(peer.listener);
    if listener.is_none_or(|listener| listener.serves(Service::Api)) {
        let caller = Caller::authenticate(state, &Method::GET, headers, peer)?;
        caller.require_role(Role::Read)?;
        caller.require_all_devices()?;
    }
    // Writing to a string cannot fail.
    let (text, kind) = if prefers_open_metrics(headers) {
        (state.metrics.text(), "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (state.metrics.classic_text(), "text/plain; version=0.0.4; charset=utf-8")
    };
    let mut response = text.unwrap_or_default().into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Whether the header Accept asks for OpenMetrics, and no less than for the older text (see `accept`).
fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let open = accept::quality(headers, &["application/openmetrics-text"]).unwrap_or(0.0);
    let text = accept::quality(headers, &["text/plain", "text/*", "*/*"]).unwrap_or(0.0);
    open > 0.0 && open >= text
}
