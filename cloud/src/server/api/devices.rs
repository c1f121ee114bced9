use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use fedecks_cloud::{
    AuditAction, AuditEntry, CloseCode, CloseReason, DeviceId, DeviceQuery, DeviceRecord,
    Forgotten, Presence, Store, check_label,
};
use warp::Reply;
use warp::reply::Response;

use super::objects::{Device, DeviceChange, DevicePage};
use super::request::Request;
use crate::server::problem::{Code, Problem, json_text};
use crate::server::site::Site;

/// How many devices are looked at for one page: where few of them fit, it is shorter.
const LOOKED_AT: usize = 5_000;

pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let limit = request.limit()?;
    let connected = request.flag("connected")?;
    let blocked = request.flag("blocked")?;
    let after = cursor(&request)?;
    let search = request.query("search").filter(|text| !text.is_empty()).map(str::to_owned);
    let query = DeviceQuery {
        after,
        limit: DeviceQuery::MOST,
        scope: request.caller.token().devices.clone(),
        search,
        blocked,
    };
    let page = match connected {
        Some(true) => Page::of_connected(&request.site, query, limit).await?,
        Some(false) | None => {
            Page::of_known(&request.site, query, connected.is_some(), limit).await?
        }
    };
    let next = page.next.as_ref().map(to_cursor);
    let devices = page.devices.into_iter().map(|(record, since)| Device::of(record, since));
    Ok(json_response(&DevicePage { devices: devices.collect(), next }))
}

struct Page {
    devices: Vec<(DeviceRecord, Option<SystemTime>)>,
    /// The last device that was looked at, if there are more.
    next: Option<DeviceId>,
}

impl Page {
    /// Of the devices that the store knows; only those that are not connected, or all.
    async fn of_known(
        site: &Site,
        mut query: DeviceQuery,
        only_gone: bool,
        limit: usize,
    ) -> Result<Self, Problem> {
        query.limit = if only_gone { DeviceQuery::MOST } else { limit as u32 };
        let mut devices = Vec::new();
        for _ in 0..LOOKED_AT / query.limit.max(1) as usize + 1 {
            let records = site.store.devices_page(&query).await?;
            let was_last = records.len() < query.limit as usize;
            for record in records {
                query.after = Some(record.id.clone());
                let since = connected_since(site, &record.id).await?;
                if !(only_gone && since.is_some()) {
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

    /// Of those that are connected. One that came within the last second is not in the store yet.
    async fn of_connected(site: &Site, query: DeviceQuery, limit: usize) -> Result<Self, Problem> {
        let mut present = present(site, |device| {
            query.scope.as_ref().is_none_or(|scope| scope.matches(device))
                && query.after.as_ref().is_none_or(|after| device > after)
        })
        .await?;
        let more = present.len() > LOOKED_AT;
        present.truncate(LOOKED_AT);
        let mut devices = Vec::new();
        for some in present.chunks(DeviceQuery::MOST as usize) {
            let ids: Vec<_> = some.iter().map(|presence| presence.device.clone()).collect();
            let records = site.store.devices_by_id(&ids).await?;
            let mut records: HashMap<_, _> =
                records.into_iter().map(|record| (record.id.clone(), record)).collect();
            for presence in some {
                let record = records
                    .remove(&presence.device)
                    .unwrap_or_else(|| unknown(presence.device.clone()));
                if fits(&query, &record) {
                    devices.push((record, Some(presence.connection.connected_at())));
                }
                if devices.len() == limit {
                    return Ok(Self { devices, next: Some(presence.device.clone()) });
                }
            }
        }
        let last = present.last().filter(|_| more).map(|presence| presence.device.clone());
        Ok(Self { devices, next: last })
    }
}

fn fits(query: &DeviceQuery, record: &DeviceRecord) -> bool {
    let blocked = query.blocked.is_none_or(|blocked| record.blocked_at.is_some() == blocked);
    let found = query.search.as_ref().is_none_or(|search| {
        let search = search.to_lowercase();
        record.id.as_str().to_lowercase().contains(&search)
            || record.label.as_ref().is_some_and(|label| label.to_lowercase().contains(&search))
    });
    blocked && found
}

fn unknown(id: DeviceId) -> DeviceRecord {
    DeviceRecord {
        id,
        label: None,
        first_seen: None,
        last_seen: None,
        generation: 0,
        blocked_at: None,
    }
}

/// The devices that are connected and wanted, ordered by id.
pub(super) async fn present(
    site: &Site,
    wanted: impl Fn(&DeviceId) -> bool,
) -> Result<Vec<Arc<Presence>>, Problem> {
    let mut present = site.hub.list().await?;
    present.retain(|presence| wanted(&presence.device));
    present.sort_unstable_by(|one, other| one.device.cmp(&other.device));
    Ok(present)
}

async fn connected_since(site: &Site, device: &DeviceId) -> Result<Option<SystemTime>, Problem> {
    let presence = site.hub.find(device).await?;
    Ok(presence.map(|presence| presence.connection.connected_at()))
}

/// The device of the path as the store knows it, or as it is connected.
async fn known(request: &Request) -> Result<(DeviceRecord, Option<SystemTime>), Problem> {
    let device = request.device()?;
    let since = connected_since(&request.site, &device).await?;
    match (request.site.store.device(&device).await?, since) {
        (Some(record), since) => Ok((record, since)),
        (None, Some(since)) => Ok((unknown(device), Some(since))),
        (None, None) => Err(Problem::device_not_found()),
    }
}

/// The device of the path, if it is known. One that is connected needs no store for that.
pub(super) async fn known_device(request: &Request) -> Result<DeviceId, Problem> {
    let device = request.device()?;
    let site = &request.site;
    if site.hub.find(&device).await?.is_some() || site.store.device(&device).await?.is_some() {
        Ok(device)
    } else {
        Err(Problem::device_not_found())
    }
}

pub(super) async fn get(request: Request) -> Result<Response, Problem> {
    let (record, since) = known(&request).await?;
    Ok(json_response(&Device::of(record, since)))
}

pub(super) async fn change(request: Request) -> Result<Response, Problem> {
    let device = known_device(&request).await?;
    let DeviceChange { label } = request.json()?;
    if let Some(label) = &label {
        check_label(label).map_err(|error| {
            Problem::new(Code::InvalidBody, format!("label is {label:?}: {error}"))
        })?;
    }
    let (store, by) = (&request.site.store, request.caller.actor());
    if !store.set_label(&device, label.as_deref(), &by).await? {
        // It is connected, and the store will know it within a second.
        return Err(Problem::for_now(Code::StoreUnavailable, "the device has only just come", 1));
    }
    get(request).await
}

pub(super) async fn forget(request: Request) -> Result<Response, Problem> {
    let device = known_device(&request).await?;
    match request.site.denylist.forget(&device, &request.caller.actor()).await? {
        Forgotten::Done(_) => Ok(no_content()),
        Forgotten::Unknown => Err(Problem::device_not_found()),
        Forgotten::Blocked => {
            Err(Problem::new(Code::DeviceIsBlocked, "expected one that is not: unblock it first"))
        }
    }
}

pub(super) async fn disconnect(request: Request) -> Result<Response, Problem> {
    let device = known_device(&request).await?;
    let reason = CloseReason::new(CloseCode::GoingAway);
    if !request.site.hub.disconnect(&device, reason).await? {
        return Err(not_connected());
    }
    audit_later(&request, AuditAction::DeviceDisconnected, device, None);
    Ok(no_content())
}

pub(super) async fn revoke(request: Request) -> Result<Response, Problem> {
    let device = known_device(&request).await?;
    request.site.denylist.revoke(&device, &request.caller.actor()).await?;
    Ok(no_content())
}

pub(super) async fn block(request: Request) -> Result<Response, Problem> {
    let device = known_device(&request).await?;
    request.site.denylist.block(&device, &request.caller.actor()).await?;
    Ok(no_content())
}

pub(super) async fn unblock(request: Request) -> Result<Response, Problem> {
    let device = known_device(&request).await?;
    request.site.denylist.unblock(&device, &request.caller.actor()).await?;
    Ok(no_content())
}

pub(super) fn not_connected() -> Problem {
    Problem::new(Code::DeviceNotConnected, "expected a device that is connected")
}

/// A line in the audit log about what is no change of the store.
pub(super) fn audit_later(
    request: &Request,
    action: AuditAction,
    device: DeviceId,
    detail: Option<String>,
) {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |at| at.as_secs());
    let by = request.caller.actor();
    request.site.store.audit_later(AuditEntry { at, by, action, device: Some(device), detail });
}

/// Where the page begins.
pub(super) fn cursor(request: &Request) -> Result<Option<DeviceId>, Problem> {
    request.parsed("cursor", "the `next` of another page", |text| {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        DeviceId::new(String::from_utf8(bytes).ok()?).ok()
    })
}

pub(super) fn to_cursor(device: &DeviceId) -> String {
    BASE64URL_NOPAD.encode(device.as_str().as_bytes())
}

pub(super) fn json_response<T: serde::Serialize>(value: &T) -> Response {
    let mut response = json_text(value).into_response();
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

pub(super) fn no_content() -> Response {
    empty(http::StatusCode::NO_CONTENT)
}

pub(super) fn empty(status: http::StatusCode) -> Response {
    warp::reply::with_status(warp::reply(), status).into_response()
}
