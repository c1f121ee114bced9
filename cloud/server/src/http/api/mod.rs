//! The HTTP API under `/api/v1`. [`table`] has every route: requests are answered by it, and the OpenAPI
//! document is generated from it.

mod accounts;
mod audit;
mod device_list;
mod devices;
mod event_stream;
mod events;
mod history;
mod input;
mod memory;
mod messages;
mod openapi;
mod paging;
mod presence;
mod refusal;
mod request;
mod route;
mod table;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;
use fedecks_cloud::serve::Peer;
use futures_util::Stream;
use http::{HeaderMap, Method};
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::caller::Caller;
use super::problem::Problem;
use crate::state::AppState;
use input::Accepts;
use refusal::Refusal;
use request::{Body, Request, read_body};
use table::Matched;

/// Everything below `/api`.
pub(crate) fn filter(state: &Arc<AppState>) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    warp::path("api")
        .and(warp::path::full())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::ext::get::<Peer>())
        .and(warp::body::stream())
        .then(move |path, method, headers, query, peer: Peer, body| {
            let call = Call { state: state.clone(), path, method, headers, query };
            async move { call.answer(peer, body).await }
        })
        .boxed()
}

/// For the log: a client may invent methods of any length.
fn name_of(method: &Method) -> &str {
    Some(method.as_str()).filter(|name| name.len() <= MAX_METHOD).unwrap_or("(too long)")
}

/// The longest method that is logged, in characters.
const MAX_METHOD: usize = 16;

/// A request before it is known who sent it and what it is for.
struct Call {
    state: Arc<AppState>,
    path: FullPath,
    method: Method,
    headers: HeaderMap,
    query: String,
}

impl Call {
    /// Answers and logs the request. The caller comes first: without a token the API reveals nothing,
    /// not even which paths exist.
    async fn answer<C: Buf>(
        self,
        peer: Peer,
        body: impl Stream<Item = Result<C, warp::Error>>,
    ) -> Response {
        let began = Instant::now();
        let caller = Caller::authenticate(&self.state, &self.method, &self.headers, peer);
        let peer = peer.address.ip();
        let by = caller.as_ref().ok().cloned();
        let found = caller.and_then(|caller| {
            let matched = table::find(&self.method, self.path.as_str())?;
            Ok((caller, matched))
        });
        let (route, answer) = match found {
            Ok((caller, matched)) => {
                let route = matched.route;
                let refusal = Refusal::of(&caller, &matched);
                let answer = self.handle(caller, matched, peer, body).await;
                if let Err(problem) = &answer {
                    refusal.audit(&self.state.audit_trail, problem.code);
                }
                (route.path, answer)
            }
            Err(problem) => ("", Err(problem)),
        };
        let response = answer.unwrap_or_else(Reply::into_response);
        tracing::info!(
            method = name_of(&self.method),
            route,
            status = response.status().as_u16(),
            by = by.as_ref().map(Caller::name),
            %peer,
            ms = began.elapsed().as_millis(),
            "API request"
        );
        response
    }

    async fn handle<C: Buf>(
        &self,
        caller: Caller,
        Matched { route, values }: Matched,
        peer: IpAddr,
        body: impl Stream<Item = Result<C, warp::Error>>,
    ) -> Result<Response, Problem> {
        let Self { state, headers, query, .. } = self;
        if let Some(role) = route.role {
            caller.require_role(role)?;
        }
        if route.all_devices {
            caller.require_all_devices()?;
        }
        let is_message = matches!(route.body, Some(Accepts::Message));
        let mut held = state.request_memory.request(caller.name(), peer, is_message);
        let body = match &route.body {
            None => Body::default(),
            Some(expected) => read_body(expected, headers, body, state, &mut held).await?,
        };
        let memory = state.request_memory.request(caller.name(), peer, true);
        let request = Request::new(state, values, query, route.query, headers, body, held)?;
        let response = (route.handler)(caller, request).await?;
        memory::counted(response, memory).await
    }
}
