//! The root filter: which service answers at which path and listener.

use std::convert::Infallible;
use std::sync::Arc;

use fedecks_cloud::serve::{ClientCertificate, Peer};
use fedecks_cloud::{Fedecks, Handler};
use fedecks_store::unix_now;
use warp::filters::BoxedFilter;
use warp::reject::MethodNotAllowed;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::problem::{Code, Problem};
use super::{api, dashboard, metrics, security_headers};
use crate::config::{Config, Service};
use crate::state::AppState;

/// The device socket, the API, the dashboard, the metrics and the health checks.
pub(crate) fn filter<H: Handler>(
    cloud: &Fedecks<H>,
    state: &Arc<AppState>,
    health: BoxedFilter<(Response,)>,
) -> impl Filter<Extract: Reply, Error = Rejection> + Clone + Send + Sync + 'static + use<H> {
    let devices = serving(&state.config, Service::Devices).and(cloud.routes());
    let api = serving(&state.config, Service::Api).and(api::filter(state));
    let dashboard = serving(&state.config, Service::Api).and(dashboard::filter(state));
    let metrics = serving(&state.config, Service::Metrics).and(metrics::filter(state));
    let others = api.or(dashboard).unify().or(metrics).unify().or(health).unify().boxed();
    // The socket's responses are for devices, which render nothing.
    devices.or(for_browsers(others))
}

/// Rejects requests from listeners that do not serve `part`, as not found.
fn serving(config: &Arc<Config>, part: Service) -> BoxedFilter<()> {
    let config = config.clone();
    let here = move |peer: Peer| {
        let listener = config.listeners.get(peer.listener);
        // A resumed TLS session may have a certificate that was revoked since. The device socket answers devices itself.
        let is_good = |certificate: &ClientCertificate| certificate.check(unix_now()).is_ok();
        let serves = listener.is_some_and(|listener| listener.serves(part))
            && (part == Service::Devices || peer.certificate.as_deref().is_none_or(is_good));
        std::future::ready(if serves { Ok(()) } else { Err(warp::reject::not_found()) })
    };
    warp::ext::get::<Peer>().and_then(here).untuple_one().boxed()
}

/// Turns rejections into problems, and adds the security headers to every response.
fn for_browsers(others: BoxedFilter<(Response,)>) -> BoxedFilter<(Response,)> {
    let refused = |rejection: Rejection| async move {
        Ok::<_, Infallible>(problem(&rejection).into_response())
    };
    warp::ext::get::<Peer>().and(others.recover(refused).unify()).map(security_headers::add).boxed()
}

fn problem(rejection: &Rejection) -> Problem {
    if rejection.is_not_found() {
        Problem::new(Code::NotFound, "nothing is served at this path")
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        // What has other methods answers by itself.
        Problem::method_not_allowed("GET, HEAD")
    } else {
        Problem::new(Code::InvalidBody, "incomplete request")
    }
}
