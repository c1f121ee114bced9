//! `/presence` and `/devices/{id}/presence`: which devices are connected, without asking the store.

use std::sync::Arc;
use std::time::SystemTime;

use fedecks_cloud::{DeviceId, messaging};
use fedecks_common::utc_millis;
use fedecks_store::Role;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::paging::{self, CURSOR, LIMIT};
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;
use crate::state::AppState;

pub(super) const ROUTES: &[Route] = &[
    Route::new("getPresence", Method::GET, "/devices/{id}/presence", handler!(get))
        .role(Role::Read)
        .summary("Get whether a device is connected")
        .returns::<Presence>("The device's presence")
        .problems(&[Code::StoreUnavailable, Code::DeviceNotFound, Code::Unavailable]),
    Route::new("listPresence", Method::GET, "/presence", handler!(list))
        .role(Role::Read)
        .summary("List the connected devices, ordered by id. Does not need the store")
        .query(&[CURSOR, LIMIT])
        .returns::<PresencePage>("A page of connected devices")
        .problems(&[Code::Unavailable]),
];

/// Whether a device is connected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Presence {
    id: String,
    connected: bool,
    /// When the connection began; null if the device is not connected.
    #[schema(required, format = DateTime)]
    since: Option<String>,
    /// The connection's name in the log.
    #[schema(required)]
    connection: Option<String>,
}

/// A page of connected devices.
#[derive(Debug, Serialize, ToSchema)]
struct PresencePage {
    /// How many of the devices that the token may see are connected.
    #[schema(minimum = 0, format = Int64)]
    connected: usize,
    devices: Vec<Presence>,
    /// The cursor of the next page; null if this is the last one.
    #[schema(required)]
    next: Option<String>,
}

/// The connected devices that match, in no order.
pub(super) async fn connected_devices(
    state: &AppState,
    matches: impl Fn(&DeviceId) -> bool,
) -> Result<Vec<Arc<messaging::Presence>>, Problem> {
    let mut connected = state.hub.list().await?;
    connected.retain(|presence| matches(&presence.device));
    Ok(connected)
}

/// The first `most` of these devices, ordered by id. The others are not sorted: a fleet may be large and a page small.
pub(super) fn first_by_id(devices: &mut Vec<Arc<messaging::Presence>>, most: usize) {
    let by_id = |one: &Arc<messaging::Presence>, other: &Arc<messaging::Presence>| {
        one.device.cmp(&other.device)
    };
    if devices.len() > most {
        devices.select_nth_unstable_by(most, by_id);
        devices.truncate(most);
    }
    devices.sort_unstable_by(by_id);
}

pub(super) async fn connected_since(
    state: &AppState,
    device: &DeviceId,
) -> Result<Option<SystemTime>, Problem> {
    let presence = state.hub.find(device).await?;
    Ok(presence.map(|presence| presence.connection.connected_at()))
}

async fn get(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    let presence = request.state.hub.find(&device).await?;
    Ok(json_response(&Presence::new(&device, presence.as_deref())))
}

async fn list(caller: Caller, request: Request) -> Result<Response, Problem> {
    let (limit, after) = (paging::limit(&request)?, paging::device_cursor(&request)?);
    let mut page = connected_devices(&request.state, |device| caller.can_see(device)).await?;
    let connected = page.len();
    page.retain(|one| after.as_ref().is_none_or(|after| one.device > *after));
    let more = page.len() > limit;
    first_by_id(&mut page, limit);
    let next = page.last().filter(|_| more).map(|last| paging::to_cursor(&last.device));
    let devices = page.iter().map(|one| Presence::new(&one.device, Some(one))).collect();
    Ok(json_response(&PresencePage { connected, devices, next }))
}

impl Presence {
    fn new(device: &DeviceId, presence: Option<&messaging::Presence>) -> Self {
        let connection = presence.map(|presence| presence.connection);
        Self {
            id: device.to_string(),
            connected: connection.is_some(),
            since: connection.map(|connection| utc_millis(connection.connected_at()).to_string()),
            connection: connection.map(|connection| connection.to_string()),
        }
    }
}
