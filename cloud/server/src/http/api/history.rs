//! `/history`: the counts of each minute of the last 24 hours.

use fedecks_common::utc_millis;
use fedecks_store::Role;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::response::json_response;

pub(super) const ROUTES: &[Route] =
    &[Route::new("getHistory", Method::GET, "/history", handler!(get))
        .role(Role::Read)
        .all_devices()
        .summary("Get the counts of each minute of the last 24 hours, since the server started")
        .returns::<History>("The minutes")];

/// The counts of each minute of at most 24 hours. The last minute is not over yet.
#[derive(Debug, Serialize, ToSchema)]
struct History {
    /// When the first minute began.
    #[schema(format = DateTime)]
    began: String,
    /// How many devices were connected at the end of each minute, to all servers. The other counts are of this server.
    connected: Vec<u64>,
    /// Device sessions that began.
    connects: Vec<u64>,
    /// Device sessions that ended.
    disconnects: Vec<u64>,
    /// Connections that were refused.
    refusals: Vec<u64>,
    /// Messages from devices.
    messages: Vec<u64>,
}

async fn get(_: Caller, request: Request) -> Result<Response, Problem> {
    let (began, minutes) = request.state.history.minutes();
    Ok(json_response(&History {
        began: utc_millis(began).to_string(),
        connected: minutes.iter().map(|minute| minute.connected as u64).collect(),
        connects: minutes.iter().map(|minute| minute.connects).collect(),
        disconnects: minutes.iter().map(|minute| minute.disconnects).collect(),
        refusals: minutes.iter().map(|minute| minute.refusals).collect(),
        messages: minutes.iter().map(|minute| minute.messages).collect(),
    }))
}
