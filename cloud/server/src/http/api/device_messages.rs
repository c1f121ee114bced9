//! `/devices/{id}/messages`: the kept messages to a device, their states, and taking them back.

use fedecks_cloud::DeviceId;
use fedecks_common::utc;
use fedecks_protocol::Tag;
use fedecks_store::{AuditAction, Cancelled, DownState, DownStatus, Role};
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::paging::{self, CURSOR, LIMIT};
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::{json_response, no_content};

const STORE: Code = Code::StoreUnavailable;

pub(super) const ROUTES: &[Route] = &[
    Route::new("listDeviceMessages", Method::GET, "/devices/{id}/messages", handler!(list))
        .role(Role::Read)
        .summary(
            "List the kept messages to a device, newest first: those that wait, and for 24 hours those that have their \
             final state, at most 1,000",
        )
        .query(&[CURSOR, LIMIT])
        .returns::<DeviceMessagePage>("A page of messages")
        .problems(&[STORE, Code::DeviceNotFound]),
    Route::new("getDeviceMessage", Method::GET, "/devices/{id}/messages/{message}", handler!(get))
        .role(Role::Read)
        .summary("Get the state of a kept message to a device")
        .returns::<DeviceMessage>("The message, without its content")
        .problems(&[STORE, Code::DeviceNotFound, Code::MessageNotFound]),
    Route::new(
        "cancelDeviceMessage",
        Method::DELETE,
        "/devices/{id}/messages/{message}",
        handler!(cancel),
    )
    .role(Role::Send)
    .summary("Take back a kept message that was not sent")
    .returns_nothing("The message is dropped")
    .problems(&[
        STORE,
        Code::DeviceNotFound,
        Code::MessageNotFound,
        Code::AlreadySent,
        Code::AlreadySettled,
    ]),
];

/// A page of kept messages to a device.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceMessagePage {
    messages: Vec<DeviceMessage>,
    /// The cursor of the next, older page; null if this is the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A kept message to a device.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceMessage {
    /// Its id, unique for the device.
    #[schema(min_length = 16, max_length = 64, pattern = "^[0-9A-Za-z_-]+$")]
    id: String,
    /// `queued`, or `sent` and not acknowledged; finally `delivered`, `rejected`, `expired` or `dropped`.
    state: String,
    /// Why it was dropped: `replaced`, `cancelled` or `re-registered`; null in any other state.
    #[schema(required)]
    reason: Option<String>,
    /// `normal` or `urgent`.
    lane: String,
    /// When it was accepted.
    #[schema(format = DateTime)]
    queued_at: String,
    /// When it reached its final state; null before that.
    #[schema(required, format = DateTime)]
    settled_at: Option<String>,
    /// When it expires if it was not sent before, or would have expired.
    #[schema(format = DateTime)]
    expires_at: String,
}

impl DeviceMessage {
    fn new(id: Tag, status: DownStatus) -> Self {
        let DownStatus { state, lane, queued_at, changed_at, expires_at } = status;
        let is_final = !matches!(state, DownState::Queued | DownState::Sent);
        Self {
            id: id.to_string(),
            state: state.as_str().to_owned(),
            reason: state.reason().map(str::to_owned),
            lane: lane.as_str().to_owned(),
            queued_at: utc(queued_at),
            settled_at: is_final.then(|| utc(changed_at)),
            expires_at: utc(expires_at),
        }
    }
}

async fn list(caller: Caller, request: Request) -> Result<Response, Problem> {
    let limit = paging::limit(&request)?;
    let before = paging::cursor(&request, |text| text.parse().ok())?;
    let device = request.known_device(&caller).await?;
    let store = &request.state.device_messages.store;
    let found = store.device_messages(&device, before, limit as u32).await?;
    let more = found.len() >= limit;
    let next = found.last().filter(|_| more).map(|last| last.number.to_string());
    let messages =
        found.into_iter().map(|record| DeviceMessage::new(record.id, record.status)).collect();
    Ok(json_response(&DeviceMessagePage { messages, next }))
}

async fn get(caller: Caller, request: Request) -> Result<Response, Problem> {
    let (device, id) = message(&caller, &request).await?;
    let status = request.state.device_messages.store.message_status(&device, id).await?;
    Ok(json_response(&DeviceMessage::new(id, status.ok_or_else(not_found)?)))
}

async fn cancel(caller: Caller, request: Request) -> Result<Response, Problem> {
    let (device, id) = message(&caller, &request).await?;
    let (trail, by, of) = (request.state.audit_trail.clone(), caller.actor(), device.clone());
    let cancelled = move || {
        trail.add(by, AuditAction::MessageCancelled, Some(of), Some(id.to_string()));
    };
    match request.state.device_messages.cancel(device, id, cancelled).await? {
        Cancelled::Dropped => Ok(no_content()),
        Cancelled::AlreadySent => Err(Problem::new(
            Code::AlreadySent,
            "the message was sent, and may arrive or have arrived",
        )),
        Cancelled::Settled(state) => {
            let detail = format!("the message is {}, expected one that waits", state.as_str());
            Err(Problem::new(Code::AlreadySettled, detail))
        }
        Cancelled::Unknown => Err(not_found()),
    }
}

/// The device and the message in the path.
async fn message(caller: &Caller, request: &Request) -> Result<(DeviceId, Tag), Problem> {
    let device = request.known_device(caller).await?;
    let id = request.second_name().parse().map_err(|_| not_found())?;
    Ok((device, id))
}

fn not_found() -> Problem {
    Problem::new(
        Code::MessageNotFound,
        "no kept message to the device with this id, or not any more: they are known for 24 hours",
    )
}
