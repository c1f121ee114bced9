mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use fedecks_edge::Peer;
use fedecks_protocol::{CHALLENGE, DeviceId, Dialect, REFUSAL_HEADER};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use warp::{Filter, Rejection};

use crate::auth::{Refused, authenticate, read_request};
use crate::fedecks::{Core, Fedecks};
use crate::handler::Handler;

use upgrade::Handshake;

type Answer = Response<String>;

impl<H: Handler> Fedecks<H> {
    /// The filter that devices connect to, at [`Options::path`](crate::Options::path) below where it
    /// is mounted. Other paths are rejected as not found, so that other filters may follow; what goes
    /// wrong at this path is answered here.
    pub fn routes(
        &self,
    ) -> impl Filter<Extract = (Answer,), Error = Rejection> + Clone + Send + Sync + 'static + use<H>
    {
        let core = self.0.clone();
        let path = core.options.path.trim_start_matches('/').to_owned();
        let at_path = move |tail: warp::path::Tail| {
            let here = tail.as_str() == path;
            async move { if here { Ok(()) } else { Err(warp::reject::not_found()) } }
        };
        warp::path::tail()
            .and_then(at_path)
            .untuple_one()
            .and(warp::method())
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<OnUpgrade>())
            .and(warp::ext::optional::<Peer>())
            .then(move |method, headers, upgrade, peer| {
                answer(core.clone(), method, headers, upgrade, peer)
            })
    }
}

/// Answers a request at the path of the device socket. If it is a device's, its session is begun.
async fn answer<H: Handler>(
    core: Arc<Core<H>>,
    method: Method,
    headers: HeaderMap,
    on_upgrade: Option<OnUpgrade>,
    peer: Option<Peer>,
) -> Answer {
    let (handshake, on_upgrade) = match Handshake::check(&method, &headers, on_upgrade) {
        Ok(checked) => checked,
        Err(error) => return error.into_answer(),
    };
    let (request, dialect) = match read_request(&core, &headers) {
        Ok(read) => read,
        Err(refusal) => return refuse(&core, None, refusal.into(), peer),
    };
    let device = request.device_id.clone();
    match authenticate(&core, request, dialect, peer.map(|peer| peer.address)).await {
        Ok(device) => {
            tokio::spawn(upgrade::begin(core, device, on_upgrade));
            switch(&handshake, dialect)
        }
        Err(refused) => refuse(&core, Some(&device), refused, peer),
    }
}

fn switch(handshake: &Handshake, dialect: Dialect) -> Answer {
    let mut answer = Response::new(String::new());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, handshake.accept());
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(dialect.subprotocol()));
    answer
}

fn refuse<H: Handler>(
    core: &Core<H>,
    device: Option<&DeviceId>,
    Refused { refusal, retry_after }: Refused,
    peer: Option<Peer>,
) -> Answer {
    let peer = peer.map(|peer| peer.address);
    tracing::info!(
        device = device.map(DeviceId::as_str),
        reason = refusal.reason(),
        ?peer,
        "refused a connection"
    );
    core.handler.refused(device, refusal, peer);
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = text(status, format!("{refusal}\n"));
    let headers = answer.headers_mut();
    headers.insert(REFUSAL_HEADER, HeaderValue::from_static(refusal.reason()));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    if let Some(delay) = retry_after {
        let seconds = delay.max(Duration::from_secs(1)).as_secs();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}
