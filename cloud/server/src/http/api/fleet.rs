//! `/fleet`: how many devices there are.

use fedecks_store::{DeviceCounts, Role};
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::presence::connected_devices;
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;

pub(super) const ROUTES: &[Route] = &[Route::new("getFleet", Method::GET, "/fleet", handler!(get))
    .role(Role::Read)
    .summary("Get how many devices there are, of those that the token may see")
    .returns::<Fleet>("The numbers")
    .problems(&[Code::StoreUnavailable, Code::Unavailable])];

/// How many devices there are, of those that the token may see.
#[derive(Debug, Serialize, ToSchema)]
struct Fleet {
    /// Those in the list of devices.
    #[schema(minimum = 0)]
    known: u64,
    /// Those that are connected. One that connected within the last second may not be known yet.
    #[schema(minimum = 0, format = Int64)]
    connected: usize,
    /// Those that are blocked.
    #[schema(minimum = 0)]
    blocked: u64,
}

async fn get(caller: Caller, request: Request) -> Result<Response, Problem> {
    let DeviceCounts { known, blocked } =
        request.state.devices.device_counts(caller.scope()).await?;
    let connected = match caller.scope() {
        // Known without a look at each.
        None => request.state.hub.connected(),
        Some(_) => connected_devices(&request.state, |device| caller.can_see(device)).await?.len(),
    };
    Ok(json_response(&Fleet { known, connected, blocked }))
}
