//! What is asked about devices, and done to them.

use std::collections::HashMap;
use std::time::SystemTime;

use fedecks_cloud::DeviceId;
use fedecks_protocol::{CloseCode, CloseReason};
use fedecks_store::{AuditAction, DeviceQuery, DeviceRecord, ForgetOutcome, check_label};
use warp::reply::Response;

use super::connected::{connected_since, not_connected, present};
use super::objects::{Device, DeviceChange, DevicePage};
use super::request::{Request, to_cursor};
use crate::http::problem::{Code, Problem};
use crate::http::response::{json_response, no_content};
use crate::state::AppState;

/// How many devices are looked at for one page: where few of them fit, it is shorter.
const LOOKED_AT: usize = 5_000;

pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let limit = request.limit()?;
    let connected = request.flag("connected")?;
    let blocked = request.flag("blocked")?;
    let after = request.cursor()?;
    let search = request.query("search").filter(|text| !text.is_empty()).map(str::to_owned);
    let query = DeviceQuery {
        after,
        limit: DeviceQuery::MAX,
        scope: request.caller.token().devices.clone(),
        search,
        blocked,
    };
    let page = match connected {
        Some(true) => Page::of_connected(&request.state, query, limit).await?,
        Some(false) | None => {
            Page::of_known(&request.state, query, connected.is_some(), limit).await?
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
        state: &AppState,
        mut query: DeviceQuery,
        only_gone: bool,
        limit: usize,
    ) -> Result<Self, Problem> {
        query.limit = if only_gone { DeviceQuery::MAX } else { limit as u32 };
        let mut devices = Vec::new();
        for _ in 0..LOOKED_AT / query.limit.max(1) as usize + 1 {
            let records = state.devices.devices_page(&query).await?;
            let was_last = records.len() < query.limit as usize;
            for record in records {
                query.after = Some(record.id.clone());
                let since = connected_since(state, &record.id).await?;
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
    async fn of_connected(
        state: &AppState,
        query: DeviceQuery,
        limit: usize,
    ) -> Result<Self, Problem> {
        let mut present = present(state, |device| {
            query.scope.as_ref().is_none_or(|scope| scope.matches(device))
                && query.after.as_ref().is_none_or(|after| device > after)
        })
        .await?;
        let more = present.len() > LOOKED_AT;
        present.truncate(LOOKED_AT);
        let mut devices = Vec::new();
        for some in present.chunks(DeviceQuery::MAX as usize) {
            let ids: Vec<_> = some.iter().map(|presence| presence.device.clone()).collect();
            let records = state.devices.devices_by_id(&ids).await?;
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

/// The device of the path as the store knows it, or as it is connected.
async fn known(request: &Request) -> Result<(DeviceRecord, Option<SystemTime>), Problem> {
    let device = request.device()?;
    let since = connected_since(&request.state, &device).await?;
    match (request.state.devices.device(&device).await?, since) {
        (Some(record), since) => Ok((record, since)),
        (None, Some(since)) => Ok((unknown(device), Some(since))),
        (None, None) => Err(Problem::device_not_found()),
    }
}

pub(super) async fn get(request: Request) -> Result<Response, Problem> {
    let (record, since) = known(&request).await?;
    Ok(json_response(&Device::of(record, since)))
}

pub(super) async fn change(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    let DeviceChange { label } = request.json()?;
    if let Some(label) = &label {
        check_label(label).map_err(|error| {
            Problem::new(Code::InvalidBody, format!("label is {label:?}: {error}"))
        })?;
    }
    let (devices, by) = (&request.state.devices, request.caller.actor());
    if !devices.set_label(&device, label.as_deref(), &by).await? {
        // It is connected, and the store will know it within a second.
        return Err(Problem::for_now(Code::StoreUnavailable, "the device has only just come", 1));
    }
    get(request).await
}

pub(super) async fn forget(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    match request.state.denylist.forget(&device, &request.caller.actor()).await? {
        ForgetOutcome::Done(_) => Ok(no_content()),
        ForgetOutcome::Unknown => Err(Problem::device_not_found()),
        ForgetOutcome::Blocked => {
            Err(Problem::new(Code::DeviceIsBlocked, "expected one that is not: unblock it first"))
        }
    }
}

pub(super) async fn disconnect(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    let reason = CloseReason::new(CloseCode::GoingAway);
    if !request.state.hub.disconnect(&device, reason).await? {
        return Err(not_connected());
    }
    request.audit_later(AuditAction::DeviceDisconnected, device, None);
    Ok(no_content())
}

pub(super) async fn revoke(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    request.state.denylist.revoke(&device, &request.caller.actor()).await?;
    Ok(no_content())
}

pub(super) async fn block(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    request.state.denylist.block(&device, &request.caller.actor()).await?;
    Ok(no_content())
}

pub(super) async fn unblock(request: Request) -> Result<Response, Problem> {
    let device = request.known_device().await?;
    request.state.denylist.unblock(&device, &request.caller.actor()).await?;
    Ok(no_content())
}
