//! The filter that devices connect to: starts the session of a device, or refuses it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fedecks_edge::{Peer, Task};
use fedecks_protocol::{CHALLENGE, DeviceId, Dialect, REFUSAL_HEADER};
use http::header::{CONNECTION, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use warp::{Filter, Rejection};

use super::handshake::Handshake;
use super::response::{TextResponse, text};
use super::socket::Socket;
use crate::auth::device::AuthenticatedDevice;
use crate::auth::{Refused, authenticate, read_request};
use crate::context::GatewayContext;
use crate::fedecks::Fedecks;
use crate::handler::Handler;
use crate::session::run;

impl<H: Handler> Fedecks<H> {
    /// The filter that devices connect to, at [`Options::path`](crate::Options::path) relative to where it
    /// is mounted. Other paths are rejected as not found, so that other filters can follow; errors at this
    /// path are answered here.
    pub fn routes(
        &self,
    ) -> impl Filter<Extract = (TextResponse,), Error = Rejection> + Clone + Send + Sync + 'static + use<H>
    {
        let context = self.0.clone();
        let path: Arc<str> = context.options.path.trim_start_matches('/').into();
        let at_path = move |tail: warp::path::Tail| {
            let here = tail.as_str() == &*path;
            async move { if here { Ok(()) } else { Err(warp::reject::not_found()) } }
        };
        warp::path::tail()
            .and_then(at_path)
            .untuple_one()
            .and(warp::method())
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<OnUpgrade>())
            .and(warp::ext::optional::<Peer>())
            .then(move |method, headers, upgrade, peer: Option<Peer>| {
                respond(context.clone(), method, headers, upgrade, peer)
            })
    }
}

/// Responds to a request at the path of the device socket, and starts the session of the device.
async fn respond<H: Handler>(
    context: Arc<GatewayContext<H>>,
    method: Method,
    headers: HeaderMap,
    on_upgrade: Option<OnUpgrade>,
    peer: Option<Peer>,
) -> TextResponse {
    let address = peer.as_ref().map(|peer| peer.address);
    let (handshake, on_upgrade) = match Handshake::check(&method, &headers, on_upgrade) {
        Ok(checked) => checked,
        Err(error) => return error.into_response(),
    };
    let (request, dialect) = match read_request(&context, &headers) {
        Ok(read) => read,
        Err(refusal) => return refuse(&context, None, refusal.into(), address),
    };
    let device = request.device_id.clone();
    match authenticate(&context, request, dialect, peer.as_ref()).await {
        Ok(device) => {
            start(Task::new(upgraded(context, device, on_upgrade)));
            switching_protocols(&handshake, dialect)
        }
        Err(refused) => refuse(&context, Some(&device), refused, address),
    }
}

/// Begins the device's session once the response is sent.
async fn upgraded<H: Handler>(
    context: Arc<GatewayContext<H>>,
    device: AuthenticatedDevice,
    on_upgrade: OnUpgrade,
) -> Option<Task> {
    let upgraded = match on_upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the connection was lost before the upgrade");
            return None;
        }
    };
    let max_frame = context.options.max_frame as usize;
    // Behind our accept loop the session gets the socket itself, without hyper's box around it.
    #[cfg(feature = "serve")]
    let upgraded = match upgraded.downcast::<TokioIo<fedecks_edge::Socket>>() {
        Ok(parts) => {
            let socket = Socket::new(parts.io.into_inner().upgraded(), &parts.read_buf, max_frame);
            return Some(run::begin(context, device, socket));
        }
        Err(upgraded) => upgraded,
    };
    let socket = Socket::new(TokioIo::new(upgraded), &[], max_frame);
    Some(run::begin(context, device, socket))
}

/// Runs a session after its response: behind our accept loop in the task of its connection, which is there already.
fn start(session: Task) {
    #[cfg(feature = "serve")]
    let session = match fedecks_edge::after_upgrade(session) {
        Ok(()) => return,
        Err(session) => session,
    };
    tokio::spawn(session);
}

fn switching_protocols(handshake: &Handshake, dialect: Dialect) -> TextResponse {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.reserve(4);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, handshake.accept());
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(dialect.subprotocol()));
    response
}

fn refuse<H: Handler>(
    context: &GatewayContext<H>,
    device: Option<&DeviceId>,
    Refused { refusal, retry_after }: Refused,
    peer: Option<SocketAddr>,
) -> TextResponse {
    tracing::info!(
        device = device.map(DeviceId::as_str),
        reason = refusal.reason(),
        peer = peer.map(tracing::field::display),
        "refused a connection"
    );
    context.handler.on_refused(device, refusal, peer);
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = text(status, format!("{refusal}\n"));
    let headers = response.headers_mut();
    headers.insert(REFUSAL_HEADER, HeaderValue::from_static(refusal.reason()));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    if let Some(delay) = retry_after {
        let seconds = delay.max(Duration::from_secs(1)).as_secs();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
