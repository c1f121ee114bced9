//! Which devices are connected, by the API.

use warp::reply::Response;

use super::connected::present;
use super::objects::{Presence, PresencePage};
use super::request::{Request, to_cursor};
use crate::http::problem::Problem;
use crate::http::response::json_response;
use fedecks_common::utc_millis;

pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let (limit, after) = (request.limit()?, request.cursor()?);
    let all = present(&request.state, |device| request.caller.sees(device)).await?;
    let connected = all.len();
    let rest = all.iter().filter(|one| after.as_ref().is_none_or(|after| one.device > *after));
    let mut page: Vec<_> = rest.take(limit + 1).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|last| to_cursor(&last.device));
    let devices = page.into_iter().map(|one| Presence::of(&one.device, Some(one))).collect();
    Ok(json_response(&PresencePage { connected, devices, next }))
}

pub(super) async fn of_device(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    let presence = request.state.hub.find(&device).await?;
    Ok(json_response(&Presence::of(&device, presence.as_deref())))
}

impl Presence {
    fn of(
        device: &fedecks_cloud::DeviceId,
        presence: Option<&fedecks_cloud::messaging::Presence>,
    ) -> Self {
        Self {
            id: device.to_string(),
            connected: presence.is_some(),
            since: presence
                .map(|presence| utc_millis(presence.connection.connected_at()).to_string()),
            connection: presence.map(|presence| presence.connection.to_string()),
        }
    }
}
