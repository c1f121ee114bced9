//! The dashboard: a page that is part of the program and asks the public API, and the sessions of those
//! who are signed in. A browser gives the API token once and has a cookie from then on.

pub(crate) mod sessions;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use fedecks_cloud::serve::Peer;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::problem::{Code, Problem, found};
use super::response::{json_response, no_content};
use crate::state::AppState;

/// What a browser loads: its name below `/assets/`, its type and its content.
const ASSETS: &[(&str, &str, &[u8])] = &[
    ("style.css", CSS, include_bytes!("../../../assets/style.css")),
    ("app.js", JAVASCRIPT, include_bytes!("../../../assets/app.js")),
    ("api.js", JAVASCRIPT, include_bytes!("../../../assets/api.js")),
    ("page.js", JAVASCRIPT, include_bytes!("../../../assets/page.js")),
    ("fleet.js", JAVASCRIPT, include_bytes!("../../../assets/fleet.js")),
    ("chart.js", JAVASCRIPT, include_bytes!("../../../assets/chart.js")),
    ("device.js", JAVASCRIPT, include_bytes!("../../../assets/device.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../../assets/icon.svg")),
];

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const PAGE: &[u8] = include_bytes!("../../../assets/index.html");

/// The most that a token and what is around it take, in bytes.
const MOST: u64 = 1024;

/// What somebody signs in with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

/// What the page has to know of its session.
#[derive(Serialize)]
struct SessionInfo<'a> {
    csrf: &'a str,
}

/// `/`, `/assets/` and `/session`.
pub(crate) fn filter(
    state: &Arc<AppState>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let page = warp::path::end().and(warp::get()).map(|| asset("text/html; charset=utf-8", PAGE));
    let assets =
        warp::path!("assets" / String).and(warp::get()).and_then(|name: String| async move {
            let found = ASSETS.iter().find(|(known, _, _)| *known == name);
            found.map(|(_, kind, content)| asset(kind, content)).ok_or_else(warp::reject::not_found)
        });
    page.or(assets).unify().or(session(state)).unify()
}

/// `/session`: POST begins one, GET says whether there is one, DELETE ends it.
fn session(
    state: &Arc<AppState>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let (asked, begun, ended) = (state.clone(), state.clone(), state.clone());
    let asking = warp::path!("session").and(warp::header::headers_cloned());
    let get = asking.and(warp::get()).map(move |headers: HeaderMap| {
        match asked.sessions.find(&headers) {
            Some(signed_in) => json_response(&SessionInfo { csrf: &signed_in.csrf }),
            None => no_content(),
        }
    });
    let post = asking
        .and(warp::post())
        .and(warp::ext::get::<Peer>())
        .and(warp::body::content_length_limit(MOST))
        .and(warp::body::bytes())
        .map(move |headers: HeaderMap, peer: Peer, body: Bytes| {
            sign_in(&begun, &headers, peer, &body).unwrap_or_else(Reply::into_response)
        });
    let delete = asking.and(warp::delete()).and(warp::ext::get::<Peer>()).map(
        move |headers: HeaderMap, peer: Peer| {
            sign_out(&ended, &headers, peer).unwrap_or_else(Reply::into_response)
        },
    );
    get.or(post).unify().or(delete).unify()
}

fn sign_in(
    state: &AppState,
    headers: &HeaderMap,
    peer: Peer,
    body: &[u8],
) -> Result<Response, Problem> {
    sessions::same_origin(headers)?;
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    // No form of another page can send this.
    if !kind.starts_with(b"application/json") {
        let detail = "expected the content-type application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    // The error says where the JSON is wrong, and nothing of what stands there.
    let SignIn { token } = serde_json::from_slice(body).map_err(|error| {
        let place = format!("wrong at column {}, expected {{\"token\": \"...\"}}", error.column());
        Problem::new(Code::InvalidJson, found("the body", place))
    })?;
    let address: IpAddr = peer.address.ip();
    let Some(token) = state.tokens.find(token.trim()) else {
        state.failed_logins.attempt(Some(address), None)?.failed();
        tracing::info!(peer = %address, "refused to sign in somebody with a wrong API token");
        return Err(Problem::unauthorized("the API token is unknown, revoked or expired"));
    };
    tracing::info!(by = token.name, peer = %address, "signed in to the dashboard");
    if let Some(older) = state.sessions.find(headers) {
        state.sessions.end(&older.id);
    }
    let begun = state.sessions.begin(token);
    let mut response = json_response(&SessionInfo { csrf: &begun.csrf });
    give_cookie(&mut response, &sessions::set_cookie(&begun.secret, peer.encrypted));
    Ok(response)
}

fn sign_out(state: &AppState, headers: &HeaderMap, peer: Peer) -> Result<Response, Problem> {
    if let Some(signed_in) = state.sessions.find(headers) {
        signed_in.check(&Method::DELETE, headers)?;
        state.sessions.end(&signed_in.id);
        tracing::info!(by = signed_in.token.name, "signed out of the dashboard");
    }
    let mut response = no_content();
    give_cookie(&mut response, &sessions::remove_cookie(peer.encrypted));
    Ok(response)
}

fn give_cookie(response: &mut Response, cookie: &str) {
    if let Ok(mut cookie) = HeaderValue::from_str(cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// Asked for anew each time, so that a newer version of the program shows its own.
fn asset(kind: &'static str, content: &'static [u8]) -> Response {
    let mut response = Response::new(Bytes::from_static(content).into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
