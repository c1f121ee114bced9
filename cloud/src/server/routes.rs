use std::sync::Arc;

use fedecks_cloud::{Fedecks, Handler};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::listeners::serving;
use super::site::Site;
use super::{api, metrics};
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
    let metrics = serving(site, Part::Metrics).and(metrics::filter(site));
    devices.or(api).or(metrics).or(health)
}
