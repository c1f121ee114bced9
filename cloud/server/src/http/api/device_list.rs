//! `/devices`: the list of devices. The store has all of them, the hub those that are connected.

use std::collections::HashMap;
use std::time::SystemTime;

use fedecks_cloud::DeviceId;
use fedecks_store::{DeviceQuery, DeviceRecord, Role};
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::devices::Device;
use super::input::Parameter;
use super::paging::{self, CURSOR, LIMIT};
use super::presence::{connected_devices, connected_since, first_by_id};
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;
use crate::state::AppState;

pub(super) const ROUTES: &[Route] = &[Route::new(
    "listDevices",
    Method::GET,
    "/devices",
    handler!(list),
)
.role(Role::Read)
.summary(
    "List the known devices, ordered by id. A page may be shorter than `limit`; the last one has \
         no `next`",
)
.query(&[
    Parameter::text(
        "search",
        "Only devices with this text in their id or label, ignoring upper and lower case",
    ),
    Parameter::flag("connected", "Only devices that are connected, or only those that are not"),
    Parameter::flag("blocked", "Only devices that are blocked, or only those that are not"),
    CURSOR,
    LIMIT,
])
.returns::<DevicePage>("A page of devices")
.problems(&[Code::StoreUnavailable])];

/// A page of devices.
#[derive(Debug, Serialize, ToSchema)]
struct DevicePage {
    devices: Vec<Device>,
    /// The cursor of the next page; null if this is the last one.
    #[schema(required)]
    next: Option<String>,
}

/// How many devices are examined for one page. If few of them match, the page is shorter.
const EXAMINED: usize = 5_000;

async fn list(caller: Caller, request: Request) -> Result<Response, Problem> {
    let limit = paging::limit(&request)?;
    let connected = request.flag("connected")?;
    let blocked = request.flag("blocked")?;
    let query = DeviceQuery {
        after: paging::device_cursor(&request)?,
        limit: DeviceQuery::MAX,
        scope: caller.scope().cloned(),
        search: request.query("search").filter(|text| !text.is_empty()).map(str::to_owned),
        blocked,
    };
    let page = match connected {
        Some(true) => Page::of_connected(&request.state, query, limit).await?,
        _ => Page::of_known(&request.state, query, connected, limit).await?,
    };
    let next = page.next.as_ref().map(paging::to_cursor);
    let devices = page.devices.into_iter().map(|(record, since)| Device::new(record, since));
    Ok(json_response(&DevicePage { devices: devices.collect(), next }))
}

struct Page {
    /// Each with the time since when it is connected.
    devices: Vec<(DeviceRecord, Option<SystemTime>)>,
    /// The last device that was examined, if there are more.
    next: Option<DeviceId>,
}

impl Page {
    /// Of the devices in the store: all of them, or only those that are connected or not.
    async fn of_known(
        state: &AppState,
        mut query: DeviceQuery,
        connected: Option<bool>,
        limit: usize,
    ) -> Result<Self, Problem> {
        query.limit = if connected.is_some() { DeviceQuery::MAX } else { limit as u32 };
        let mut devices = Vec::new();
        for _ in 0..EXAMINED / query.limit.max(1) as usize + 1 {
            let records = state.devices.devices_page(&query).await?;
            let was_last = records.len() < query.limit as usize;
            for record in records {
                query.after = Some(record.id.clone());
                let since = connected_since(state, &record.id).await?;
                if connected.is_none_or(|connected| connected == since.is_some()) {
                    devices.push((record, since));
                }
                if devices.len() == limit {
                    return Ok(Self { devices, next: query.after });
                }
            }
            if was_last {
                return Ok(Self { devices, next: None });
            }
        }
        Ok(Self { devices, next: query.after })
    }

    /// Of the connected devices. One that connected within the last second is not in the store yet.
    async fn of_connected(
        state: &AppState,
        query: DeviceQuery,
        limit: usize,
    ) -> Result<Self, Problem> {
        let mut connected = connected_devices(state, |device| {
            query.scope.as_ref().is_none_or(|scope| scope.matches(device))
                && query.after.as_ref().is_none_or(|after| device > after)
        })
        .await?;
        if query.search.is_some() && connected.len() > DeviceQuery::MAX as usize {
            // The store finds the text faster than it looks up thousands of devices.
            return Self::of_known(state, query, Some(true), limit).await;
        }
        let more = connected.len() > EXAMINED;
        first_by_id(&mut connected, EXAMINED);
        let mut devices = Vec::new();
        for chunk in connected.chunks(DeviceQuery::MAX as usize) {
            let ids: Vec<_> = chunk.iter().map(|presence| presence.device.clone()).collect();
            let records = state.devices.devices_by_id(&ids).await?;
            let mut records: HashMap<_, _> =
                records.into_iter().map(|record| (record.id.clone(), record)).collect();
            for presence in chunk {
                let id = &presence.device;
                let record = records.remove(id).unwrap_or_else(|| DeviceRecord::new(id.clone()));
                if matches(&query, &record) {
                    devices.push((record, Some(presence.connection.connected_at())));
                }
                if devices.len() == limit {
                    return Ok(Self { devices, next: Some(id.clone()) });
                }
            }
        }
        let last = connected.last().filter(|_| more).map(|presence| presence.device.clone());
        Ok(Self { devices, next: last })
    }
}

/// Whether a record matches the query, as the store would decide.
fn matches(query: &DeviceQuery, record: &DeviceRecord) -> bool {
    let blocked = query.blocked.is_none_or(|blocked| record.blocked_at.is_some() == blocked);
    let found = query.search.as_ref().is_none_or(|search| {
        let search = search.to_lowercase();
        record.id.as_str().to_lowercase().contains(&search)
            || record.label.as_ref().is_some_and(|label| label.to_lowercase().contains(&search))
    });
    blocked && found
}
