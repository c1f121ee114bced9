//! The dashboard: a page that is compiled in and calls the public API, and the endpoint that signs in and
//! out. A browser presents the API token once and has a cookie from then on.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use fedecks_cloud::serve::Peer;
use fedecks_store::{Actor, AuditAction};
use futures_util::{Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::browser_session;
use super::caller::find_token;
use super::problem::{Code, Problem};
use super::reading::reading;
use super::response::{json_response, no_content};
use crate::dashboard_sessions::SignedIn;
use crate::state::AppState;

/// The files below `/assets/`: name, content type, content.
const ASSETS: &[(&str, &str, &[u8])] = &[
    ("style.css", CSS, include_bytes!("../../../assets/style.css")),
    ("app.js", JAVASCRIPT, include_bytes!("../../../assets/app.js")),
    ("api.js", JAVASCRIPT, include_bytes!("../../../assets/api.js")),
    ("events.js", JAVASCRIPT, include_bytes!("../../../assets/events.js")),
    ("page.js", JAVASCRIPT, include_bytes!("../../../assets/page.js")),
    ("fleet.js", JAVASCRIPT, include_bytes!("../../../assets/fleet.js")),
    ("chart.js", JAVASCRIPT, include_bytes!("../../../assets/chart.js")),
    ("claims.js", JAVASCRIPT, include_bytes!("../../../assets/claims.js")),
    ("claim_form.js", JAVASCRIPT, include_bytes!("../../../assets/claim_form.js")),
    ("approvals.js", JAVASCRIPT, include_bytes!("../../../assets/approvals.js")),
    ("device.js", JAVASCRIPT, include_bytes!("../../../assets/device.js")),
    ("editor.js", JAVASCRIPT, include_bytes!("../../../assets/editor.js")),
    ("kept.js", JAVASCRIPT, include_bytes!("../../../assets/kept.js")),
    ("question.js", JAVASCRIPT, include_bytes!("../../../assets/question.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../../assets/icon.svg")),
];

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const PAGE: &[u8] = include_bytes!("../../../assets/index.html");

/// The largest body of a sign-in, in bytes.
const MAX_BODY: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

/// What the page needs to know of its session.
#[derive(Serialize)]
struct SessionInfo<'a> {
    csrf: &'a str,
}

/// `/`, `/assets/` and `/session`.
pub(crate) fn filter(state: &Arc<AppState>) -> BoxedFilter<(Response,)> {
    let page = warp::path::end().and(reading()).map(|| asset("text/html; charset=utf-8", PAGE));
    let assets =
        warp::path!("assets" / String).and(reading()).and_then(|name: String| async move {
            let found = ASSETS.iter().find(|(known, _, _)| *known == name);
            found.map(|(_, kind, content)| asset(kind, content)).ok_or_else(warp::reject::not_found)
        });
    page.or(assets).unify().or(session(state)).unify().boxed()
}

/// `/session`: POST signs in, GET returns the session if there is one, DELETE signs out. A single filter, since those
/// for one method each would take what is wrong with a body for a wrong method.
fn session(state: &Arc<AppState>) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    warp::path!("session")
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(warp::body::stream())
        .then(move |method, headers, peer: Peer, body| {
            let state = state.clone();
            async move {
                let answer = answer_session(&state, &method, &headers, &peer, body).await;
                answer.unwrap_or_else(Reply::into_response)
            }
        })
        .boxed()
}

async fn answer_session<C: Buf>(
    state: &AppState,
    method: &Method,
    headers: &HeaderMap,
    peer: &Peer,
    body: impl Stream<Item = Result<C, warp::Error>>,
) -> Result<Response, Problem> {
    match *method {
        Method::GET | Method::HEAD => {
            let found = browser_session::find(&state.sessions, headers, peer)?;
            let info = |found: SignedIn| json_response(&SessionInfo { csrf: &found.csrf });
            Ok(found.map_or_else(no_content, info))
        }
        Method::POST => sign_in(state, headers, peer, &read(body).await?),
        Method::DELETE => sign_out(state, headers, peer),
        _ => Err(Problem::method_not_allowed("GET, HEAD, POST, DELETE")),
    }
}

/// The body of a sign-in.
async fn read<C: Buf>(
    body: impl Stream<Item = Result<C, warp::Error>>,
) -> Result<Vec<u8>, Problem> {
    let mut chunks = std::pin::pin!(body);
    let mut read = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let mut chunk = chunk.map_err(|_| Problem::incomplete_body())?;
        if read.len() + chunk.remaining() > MAX_BODY {
            let detail = format!("expected at most {MAX_BODY} bytes");
            return Err(Problem::new(Code::BodyTooBig, detail));
        }
        read.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    Ok(read)
}

fn sign_in(
    state: &AppState,
    headers: &HeaderMap,
    peer: &Peer,
    body: &[u8],
) -> Result<Response, Problem> {
    browser_session::require_same_origin(headers, peer)?;
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    // A form on another site cannot send this type.
    if !kind.starts_with(b"application/json") {
        let detail = "expected the content-type application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    // The position, but none of the content, which may be a token.
    let SignIn { token } = serde_json::from_slice(body).map_err(|error| {
        let detail = format!(
            "the body: error at column {}, expected {{\"token\": \"...\"}}",
            error.column()
        );
        Problem::new(Code::InvalidJson, detail)
    })?;
    let address = peer.address.ip();
    let token = find_token(state, &token, address).inspect_err(|problem| {
        if problem.code == Code::Unauthorized {
            tracing::info!(peer = %address, "dashboard sign-in failed: wrong API token");
        }
    })?;
    tracing::info!(by = token.name, peer = %address, "dashboard sign-in");
    let by = Actor::token(&token.name).from_address(address);
    state.audit_trail.add(by, AuditAction::SignedIn, None, None);
    if let Some(older) = browser_session::find(&state.sessions, headers, peer)? {
        state.sessions.end(&older.id);
    }
    let new = state.sessions.begin(token);
    let mut response = json_response(&SessionInfo { csrf: &new.csrf });
    set_cookie(&mut response, &browser_session::cookie_header(Some(&new.secret), peer));
    Ok(response)
}

fn sign_out(state: &AppState, headers: &HeaderMap, peer: &Peer) -> Result<Response, Problem> {
    if let Some(signed_in) = browser_session::find(&state.sessions, headers, peer)? {
        browser_session::check(&signed_in, &Method::DELETE, headers, peer)?;
        state.sessions.end(&signed_in.id);
        tracing::info!(by = signed_in.token.name, "dashboard sign-out");
        let by = Actor::token(&signed_in.token.name).from_address(peer.address.ip());
        state.audit_trail.add(by, AuditAction::SignedOut, None, None);
    }
    let mut response = no_content();
    set_cookie(&mut response, &browser_session::cookie_header(None, peer));
    Ok(response)
}

fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(mut cookie) = HeaderValue::from_str(cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// Revalidated each time, so that a newer version of the program shows its own files.
fn asset(kind: &'static str, content: &'static [u8]) -> Response {
    let mut response = Response::new(Bytes::from_static(content).into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
