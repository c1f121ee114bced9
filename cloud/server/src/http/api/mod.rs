//! The HTTP API under `/api/v1`. [`routes::ROUTES`] is the table of everything that it does: requests
//! are answered by it, and the OpenAPI description is made of it.

mod accounts;
mod audit;
mod connected;
mod devices;
mod events;
mod history;
mod input;
mod messages;
mod objects;
mod openapi;
mod presence;
mod request;
mod route;
mod routes;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use fedecks_cloud::serve::Peer;
use http::{HeaderMap, Method};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::auth::Caller;
use super::problem::Problem;
use crate::state::AppState;
use request::{Body, Request, read_body};
use routes::Matched;

/// Everything below `/api`.
pub(crate) fn filter(
    state: &Arc<AppState>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let state = state.clone();
    warp::path("api")
        .and(warp::path::full())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::ext::get::<Peer>())
        .and(warp::body::stream())
        .then(
            move |path: warp::path::FullPath, method, headers, query: String, peer: Peer, body| {
                let state = state.clone();
                async move {
                    let began = Instant::now();
                    let head =
                        Head { path: path.as_str(), method, headers: &headers, query: &query };
                    let mut caller = None;
                    let address = peer.address.ip();
                    let (route, answer) = head.answer(&state, address, body, &mut caller).await;
                    let response = answer.unwrap_or_else(Reply::into_response);
                    tracing::info!(
                        method = %head.method,
                        route,
                        status = response.status().as_u16(),
                        by = caller.as_ref().map(Caller::name),
                        peer = %address,
                        ms = began.elapsed().as_millis(),
                        "answered a call of the API"
                    );
                    response
                }
            },
        )
}

struct Head<'a> {
    path: &'a str,
    method: Method,
    headers: &'a HeaderMap,
    query: &'a str,
}

impl Head<'_> {
    /// The answer, and by which route. Who calls comes first: without a token nobody learns what there
    /// is.
    async fn answer<B: Body>(
        &self,
        state: &Arc<AppState>,
        address: IpAddr,
        body: B,
        called_by: &mut Option<Caller>,
    ) -> (&'static str, Result<Response, Problem>) {
        let caller = match Caller::of(state, &self.method, self.headers, Some(address)) {
            Ok(caller) => caller,
            Err(problem) => return ("", Err(problem)),
        };
        *called_by = Some(caller.clone());
        let Matched { route, values } = match routes::find(&self.method, self.path) {
            Ok(matched) => matched,
            Err(problem) => return ("", Err(problem)),
        };
        let answer = async {
            if let Some(role) = route.role {
                caller.needs(role)?;
            }
            if route.all_devices {
                caller.needs_all_devices()?;
            }
            let content = match &route.body {
                None => None,
                Some(expected) => Some(read_body(expected, self.headers, body, state).await?),
            };
            let request = Request::new(
                state,
                caller,
                values,
                self.query,
                self.headers,
                content,
                route.query,
            )?;
            (route.handler)(request).await
        };
        (route.path, answer.await)
    }
}
