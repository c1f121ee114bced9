//! `/devices/{id}`: one device, and what can be done to it. The list is in `device_list.rs`.

use std::time::SystemTime;

use fedecks_common::{utc, utc_millis};
use fedecks_protocol::{CloseCode, CloseReason};
use fedecks_store::{AuditAction, DeviceRecord, ForgetOutcome, Registration, Role, check_label};
use http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::reply::Response;

use super::presence::connected_since;
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::{json_response, no_content};

const STORE: Code = Code::StoreUnavailable;

pub(super) const ROUTES: &[Route] = &[
    Route::new("getDevice", Method::GET, "/devices/{id}", handler!(get))
        .role(Role::Read)
        .summary("Get a device")
        .returns::<Device>("The device")
        .problems(&[STORE, Code::DeviceNotFound]),
    Route::new("changeDevice", Method::PATCH, "/devices/{id}", handler!(change))
        .role(Role::Admin)
        .summary("Set the label of a device, or remove it with null")
        .takes::<DeviceChange>()
        .returns::<Device>("The device as it is now")
        .problems(&[STORE, Code::DeviceNotFound]),
    Route::new("forgetDevice", Method::DELETE, "/devices/{id}", handler!(forget))
        .role(Role::Admin)
        .summary(
            "Forget a device: removes it from all lists and revokes its tokens. It is known again once \
             it logs in with credentials",
        )
        .returns_nothing("Forgotten")
        .problems(&[STORE, Code::DeviceNotFound, Code::DeviceIsBlocked]),
    Route::new("disconnectDevice", Method::POST, "/devices/{id}/disconnect", handler!(disconnect))
        .role(Role::Admin)
        .summary("Close a device's connection. The device reconnects by itself")
        .returns_nothing("The connection is being closed")
        .problems(&[STORE, Code::DeviceNotFound, Code::DeviceNotConnected, Code::Unavailable]),
    Route::new("revokeDevice", Method::POST, "/devices/{id}/revoke", handler!(revoke))
        .role(Role::Admin)
        .summary(
            "Revoke all tokens of a device, and close its connection. It has to log in with \
             credentials",
        )
        .returns_nothing("Revoked")
        .problems(&[STORE, Code::DeviceNotFound]),
    Route::new("blockDevice", Method::POST, "/devices/{id}/block", handler!(block))
        .role(Role::Admin)
        .summary(
            "Refuse a device until it is unblocked, and close its connection. Its tokens stay valid",
        )
        .returns_nothing("Blocked")
        .problems(&[STORE, Code::DeviceNotFound]),
    Route::new("unblockDevice", Method::POST, "/devices/{id}/unblock", handler!(unblock))
        .role(Role::Admin)
        .summary("Accept a blocked device again")
        .returns_nothing("Unblocked")
        .problems(&[STORE, Code::DeviceNotFound]),
];

/// A device. Times are in UTC, as in RFC 3339.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Device {
    id: String,
    /// Its label; null if it has none.
    #[schema(required)]
    label: Option<String>,
    connected: bool,
    /// When the current connection began; null if the device is not connected.
    #[schema(required, format = DateTime)]
    connected_since: Option<String>,
    /// When it was first seen; null if never, or only within the last second.
    #[schema(required, format = DateTime)]
    first_seen: Option<String>,
    /// When a connection of it last began or ended.
    #[schema(required, format = DateTime)]
    last_seen: Option<String>,
    blocked: bool,
    /// When it was blocked; null if it is not blocked.
    #[schema(required, format = DateTime)]
    blocked_since: Option<String>,
    /// By what it was registered last; null if that is not known.
    #[schema(required)]
    registration: Option<DeviceRegistration>,
    /// Until when it may register again, once; null if an operator has not allowed it.
    #[schema(required, format = DateTime)]
    reregistration_allowed_until: Option<String>,
}

/// By what a device was registered, when and from where.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceRegistration {
    /// `account:` and a name, `claim:` and the id of a claim, `certificate:` and the SHA-256 of its public key, or
    /// `other`.
    by: String,
    #[schema(format = DateTime)]
    at: String,
    /// From which address; null if unknown.
    #[schema(required)]
    address: Option<String>,
}

/// A change of a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeviceChange {
    /// 1 to 128 characters on one line without a space at either end; null for none.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, min_length = 1, max_length = 128)]
    label: Option<String>,
}

impl Device {
    pub(super) fn new(record: DeviceRecord, connected: Option<SystemTime>) -> Self {
        Self {
            id: record.id.to_string(),
            label: record.label,
            connected: connected.is_some(),
            connected_since: connected.map(|at| utc_millis(at).to_string()),
            first_seen: record.first_seen.map(utc),
            last_seen: record.last_seen.map(utc),
            blocked: record.blocked_at.is_some(),
            blocked_since: record.blocked_at.map(utc),
            registration: record.registration.map(DeviceRegistration::new),
            reregistration_allowed_until: record.reregistration_allowed_until.map(utc),
        }
    }
}

impl DeviceRegistration {
    fn new(of: Registration) -> Self {
        let address = of.address.map(|address| address.to_string());
        Self { by: of.by.to_string(), at: utc(of.at), address }
    }
}

async fn get(caller: Caller, request: Request) -> Result<Response, Problem> {
    let id = request.device(&caller)?;
    let since = connected_since(&request.state, &id).await?;
    let record = match request.state.devices.device(&id).await? {
        Some(record) => record,
        // It is connected, but not in the store yet.
        None if since.is_some() => DeviceRecord::new(id),
        None => return Err(Problem::device_not_found()),
    };
    Ok(json_response(&Device::new(record, since)))
}

async fn change(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    let DeviceChange { label } = request.json()?;
    if let Some(label) = &label {
        check_label(label).map_err(|error| {
            Problem::new(Code::InvalidBody, format!("label is {label:?}: {error}"))
        })?;
    }
    let (devices, by) = (&request.state.devices, caller.actor());
    if !devices.set_label(&device, label.as_deref(), &by).await? {
        // It is connected, and will be in the store within a second.
        return Err(Problem::temporary(STORE, "the device has only just connected", 1));
    }
    get(caller, request).await
}

async fn forget(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    let (denylist, by, id) = (request.state.denylist.clone(), caller.actor(), device.clone());
    let forget = async move { denylist.forget(&id, &by).await };
    match request.state.device_messages.forget(device, forget).await? {
        ForgetOutcome::Done(_) => Ok(no_content()),
        ForgetOutcome::Blocked => {
            Err(Problem::new(Code::DeviceIsBlocked, "unblock the device before you forget it"))
        }
        // It is connected, and will be in the store within a second.
        _ => Err(Problem::temporary(STORE, "the device has only just connected", 1)),
    }
}

async fn disconnect(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    let reason = CloseReason::new(CloseCode::GoingAway);
    if !request.state.hub.disconnect(&device, reason).await? {
        return Err(Problem::device_not_connected());
    }
    request.audit_later(&caller, AuditAction::DeviceDisconnected, device);
    Ok(no_content())
}

async fn revoke(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    request.state.denylist.revoke(&device, &caller.actor()).await?;
    Ok(no_content())
}

async fn block(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    request.state.denylist.block(&device, &caller.actor()).await?;
    Ok(no_content())
}

async fn unblock(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.known_device(&caller).await?;
    request.state.denylist.unblock(&device, &caller.actor()).await?;
    Ok(no_content())
}
