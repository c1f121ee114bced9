//! `/audit`: the audit log. Entries are added by the store and by the handlers of other resources.

use fedecks_cloud::DeviceId;
use fedecks_common::utc;
use fedecks_store::{AuditClass, AuditQuery, AuditRecord, Role};
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::input::{Parameter, ParameterKind};
use super::paging::{self, CURSOR, LIMIT};
use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;

pub(super) const ROUTES: &[Route] =
    &[Route::new("listAudit", Method::GET, "/audit", handler!(list))
        .role(Role::Admin)
        .all_devices()
        .summary("List who did what, newest first")
        .query(&[
            Parameter {
                kind: ParameterKind::AuditClass,
                ..Parameter::text("class", "Only entries of this class")
            },
            Parameter::text("device", "Only what was done to this device"),
            Parameter::text("by", "Only what was done by this actor"),
            CURSOR,
            LIMIT,
        ])
        .returns::<AuditPage>("A page of the audit log")
        .problems(&[Code::StoreUnavailable])];

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditPage {
    entries: Vec<AuditEntry>,
    /// The cursor of the next, older page; null if this is the last one.
    #[schema(required)]
    next: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditEntry {
    #[schema(format = DateTime)]
    time: String,
    /// `access`, `devices`, `sign-ins`, `logins`, `refusals` or `messages`.
    class: String,
    /// `cli`, `server`, `token:` and the name of an API token, or `account:` and the name of an account.
    by: String,
    /// From which address; null if not over the network.
    #[schema(required)]
    address: Option<String>,
    /// Such as `device-blocked`.
    action: String,
    /// The device, if the action was about one.
    #[schema(required)]
    device: Option<String>,
    #[schema(required)]
    detail: Option<String>,
}

async fn list(_: Caller, request: Request) -> Result<Response, Problem> {
    let limit = paging::limit(&request)?;
    let before = paging::cursor(&request, |text| text.parse().ok())?;
    let device = request.parsed("device", "a device id", |text| DeviceId::new(text).ok())?;
    let expected = format!("one of {}", AuditClass::words());
    let class = request.parsed("class", &expected, AuditClass::from_word)?;
    let by = request.query("by").map(str::to_owned);
    let query = AuditQuery { before, class, device, by, limit: limit as u32 };
    let records = request.state.audit.audit_page(&query).await?;
    let more = records.len() == limit;
    let next = records.last().filter(|_| more).map(|last| last.sequence.to_string());
    let entry = |record: AuditRecord| AuditEntry {
        time: utc(record.at),
        class: record.action.class().as_str().to_owned(),
        by: record.by,
        address: record.address.map(|address| address.to_string()),
        action: record.action.as_str().to_owned(),
        device: record.device.map(|device| device.to_string()),
        detail: record.detail,
    };
    let entries = records.into_iter().map(entry).collect();
    Ok(json_response(&AuditPage { entries, next }))
}
