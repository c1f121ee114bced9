//! The HTTP API under `/api/v1`. [`table`] has every route: requests are answered by it, and the OpenAPI
//! document is generated from it.

mod accounts;
mod approvals;
mod audit;
mod claims;
mod device_list;
mod device_messages;
mod device_requests;
mod devices;
mod event_schemas;
mod event_stream;
mod events;
mod fleet;
mod history;
mod input;
mod keep;
mod memory;
mod message_consumers;
mod messages;
mod openapi;
mod paging;
mod presence;
mod received;
mod refusal;
mod request;
mod revocations;
mod route;
mod schemas;
mod table;
mod tokens;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
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
use request::{Request, parse_query, read_body};
use route::{Handler, Route};
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
            async move { call.answer(&peer, body).await }
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

/// How much of a path without a route is logged, in characters.
const LOGGED_PATH: usize = 128;

impl Call {
    /// Answers and logs the request.
    async fn answer<C: Buf>(
        self,
        peer: &Peer,
        body: impl Stream<Item = Result<C, warp::Error>>,
    ) -> Response {
        let began = Instant::now();
        let found = table::find(&self.method, self.path.as_str());
        let public =
            found.as_ref().ok().and_then(|matched| Some((matched.route, matched.route.public()?)));
        let route = match &found {
            Ok(matched) => Cow::from(matched.route.path),
            // For operators; the caller learns nothing from it.
            Err(_) => self.path.as_str().chars().take(LOGGED_PATH).collect(),
        };
        let (by, answer) = match public {
            Some((route, respond)) => (None, self.public(route, respond)),
            None => self.authenticated(found, peer, body).await,
        };
        let peer = peer.address.ip();
        let response = answer.unwrap_or_else(Reply::into_response);
        tracing::info!(
            method = name_of(&self.method),
            %route,
            status = response.status().as_u16(),
            by = by.as_ref().map(Caller::name),
            %peer,
            ms = began.elapsed().as_millis(),
            "API request"
        );
        response
    }

    /// Answers what is the same to all. Credentials are not examined, so wrong ones do not count.
    fn public(&self, route: &Route, respond: fn() -> Response) -> Result<Response, Problem> {
        parse_query(&self.query, route.query)?;
        Ok(respond())
    }

    /// Answers everything else. The caller comes first: without a token the API reveals nothing, not even which
    /// paths exist. Returns the caller for the log, too.
    async fn authenticated<C: Buf>(
        &self,
        found: Result<Matched, Problem>,
        peer: &Peer,
        body: impl Stream<Item = Result<C, warp::Error>>,
    ) -> (Option<Caller>, Result<Response, Problem>) {
        let caller = match Caller::authenticate(&self.state, &self.method, &self.headers, peer) {
            Ok(caller) => caller,
            Err(problem) => return (None, Err(problem)),
        };
        let by = Some(caller.clone());
        let matched = match found {
            Ok(matched) => matched,
            Err(problem) => return (by, Err(problem)),
        };
        let refusal = Refusal::of(&caller, &matched);
        let answer = self.handle(caller, matched, peer.address.ip(), body).await;
        if let Err(problem) = &answer {
            refusal.audit(&self.state.audit_trail, problem.code);
        }
        (by, answer)
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
        let is_message = route.body.as_ref().is_some_and(Accepts::is_message);
        let mut held = state.request_memory.request(caller.name(), peer, is_message);
        let body = match &route.body {
            None => Bytes::new(),
            Some(expected) => read_body(expected, headers, body, state, &mut held).await?,
        };
        let memory = state.request_memory.request(caller.name(), peer, true);
        let request = Request::new(state, values, query, route.query, headers, body, held)?;
        let response = match route.handler {
            Handler::Authenticated(handler) => handler(caller, request).await?,
            Handler::Public(respond) => respond(),
        };
        memory::counted(response, memory).await
    }
}
