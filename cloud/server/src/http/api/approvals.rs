//! `/approvals`: the devices that wait for an operator's approval, and `/devices/{id}/allow-reregistration`.

use fedecks_common::utc;
use fedecks_store::{Approval, REPETITION_S, Role};
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
    Route::new("listApprovals", Method::GET, "/approvals", handler!(list))
        .role(Role::Read)
        .summary("List the devices that wait for an approval, ordered by id. A page may be shorter than `limit`")
        .query(&[CURSOR, LIMIT])
        .returns::<ApprovalPage>("A page of devices that wait")
        .problems(&[STORE]),
    Route::new("approveDevice", Method::POST, "/approvals/{id}", handler!(approve))
        .role(Role::Admin)
        .summary("Approve a device that waits. Its next login with the same claim registers it")
        .returns_nothing("Approved")
        .problems(&[STORE, Code::ApprovalNotFound]),
    Route::new("rejectDevice", Method::DELETE, "/approvals/{id}", handler!(reject))
        .role(Role::Admin)
        .summary("Reject a device that waits. It is refused for a day; revoke its claim to end that for good")
        .returns_nothing("Rejected")
        .problems(&[STORE, Code::ApprovalNotFound]),
    Route::new(
        "allowReregistration",
        Method::POST,
        "/devices/{id}/allow-reregistration",
        handler!(allow),
    )
    .role(Role::Admin)
    .summary(
        "Allow a device to register again with an account or a claim, once, within 24 hours. Its tokens stay valid \
         until it does",
    )
    .returns_nothing("Allowed")
    .problems(&[STORE, Code::DeviceNotFound]),
];

/// A page of devices that wait for an approval.
#[derive(Debug, Serialize, ToSchema)]
struct ApprovalPage {
    approvals: Vec<PendingApproval>,
    /// The cursor of the next page; null if this is the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A device that waits for an approval.
#[derive(Debug, Serialize, ToSchema)]
struct PendingApproval {
    device: String,
    /// The id of the claim that it has presented.
    claim: String,
    /// When it first did.
    #[schema(format = DateTime)]
    since: String,
    /// When it last did.
    #[schema(format = DateTime)]
    last_seen: String,
    /// From which address; null if unknown.
    #[schema(required)]
    address: Option<String>,
}

async fn list(caller: Caller, request: Request) -> Result<Response, Problem> {
    let (limit, after) = (paging::limit(&request)?, paging::device_cursor(&request)?);
    let registrations = &request.state.registrations;
    let page = registrations.approvals_page(after.as_ref(), limit as u32).await?;
    let more = page.len() == limit;
    let next = page.last().filter(|_| more).map(|last| paging::to_cursor(&last.device));
    let visible = page.into_iter().filter(|one| caller.can_see(&one.device));
    let approvals = visible.map(PendingApproval::new).collect();
    Ok(json_response(&ApprovalPage { approvals, next }))
}

impl PendingApproval {
    fn new(of: Approval) -> Self {
        Self {
            device: of.device.to_string(),
            claim: of.claim.to_string(),
            since: utc(of.since),
            last_seen: utc(of.asked_at),
            address: of.address.map(|address| address.to_string()),
        }
    }
}

async fn approve(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.device(&caller).map_err(|_| not_found())?;
    let found = request.state.registrations.approve(&device, &caller.actor()).await?;
    if found { Ok(no_content()) } else { Err(not_found()) }
}

async fn reject(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.device(&caller).map_err(|_| not_found())?;
    let found = request.state.registrations.reject(&device, &caller.actor()).await?;
    if found { Ok(no_content()) } else { Err(not_found()) }
}

/// The same whether none waits or the caller may not see it.
fn not_found() -> Problem {
    let detail = "no device with this id waits, or your token has no access to it";
    Problem::new(Code::ApprovalNotFound, detail)
}

async fn allow(caller: Caller, request: Request) -> Result<Response, Problem> {
    let device = request.device(&caller)?;
    let until = request.state.clock.now().saturating_add(REPETITION_S);
    let registrations = &request.state.registrations;
    let known = registrations.allow_reregistration(&device, until, &caller.actor()).await?;
    if known { Ok(no_content()) } else { Err(Problem::device_not_found()) }
}
