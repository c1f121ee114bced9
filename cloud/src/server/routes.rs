use std::sync::Arc;

use fedecks_cloud::{Fedecks, Handler};
use warp::{Filter, Rejection, Reply};

use super::api;
use super::listeners::serving;
use super::site::Site;
use crate::config::Part;

/// Everything that the server answers: the device socket, and what people and programs ask for.
pub(crate) fn all<H: Handler>(
    cloud: &Fedecks<H>,
    site: &Arc<Site>,
) -> impl Filter<Extract: Reply, Error = Rejection> + Clone + Send + Sync + 'static + use<H> {
    let devices = serving(site, Part::Devices).and(cloud.routes());
    let api = serving(site, Part::Api).and(api::filter(site));
    devices.or(api)
}
