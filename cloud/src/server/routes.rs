use std::convert::Infallible;
use std::sync::Arc;

use fedecks_cloud::{Fedecks, Handler, Peer};
use warp::reject::{LengthRequired, MethodNotAllowed, PayloadTooLarge};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::listeners::serving;
use super::problem::{Code, Problem};
use super::site::Site;
use super::{api, dashboard, metrics, security_headers};
use crate::config::Part;

/// Everything that the server answers: the device socket, and what people and programs ask for.
pub(crate) fn all<H, F>(
    cloud: &Fedecks<H>,
    site: &Arc<Site>,
    health: F,
) -> impl Filter<Extract: Reply, Error = Rejection> + Clone + Send + Sync + 'static + use<H, F>
where
    H: Handler,
    F: Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
{
    let devices = serving(site, Part::Devices).and(cloud.routes());
    let api = serving(site, Part::Api).and(api::filter(site));
    let dashboard = serving(site, Part::Api).and(dashboard::filter(site));
    let metrics = serving(site, Part::Metrics).and(metrics::filter(site));
    let others = api.or(dashboard).unify().or(metrics).unify().or(health).unify();
    // The socket's answers are for devices, which render nothing.
    devices.or(with_headers(others))
}

/// Everything that is no device socket, with what browsers have to know, whatever becomes of it.
fn with_headers<F>(
    others: F,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static + use<F>
where
    F: Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
{
    let refused = |rejection: Rejection| async move {
        Ok::<_, Infallible>(problem(&rejection).into_response())
    };
    warp::ext::get::<Peer>().and(others.recover(refused).unify()).map(security_headers::add)
}

fn problem(rejection: &Rejection) -> Problem {
    if rejection.is_not_found() {
        Problem::new(Code::NotFound, "there is nothing at this path")
    } else if rejection.find::<PayloadTooLarge>().is_some() {
        Problem::new(Code::BodyTooBig, "expected less")
    } else if rejection.find::<LengthRequired>().is_some() {
        Problem::new(Code::InvalidBody, "expected a body with the header content-length")
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        Problem::new(Code::MethodNotAllowed, "expected another method at this path")
    } else {
        Problem::new(Code::InvalidBody, "the request is not whole")
    }
}
