//! The audit log, by the API.

use fedecks_cloud::DeviceId;
use fedecks_store::AuditQuery;
use warp::reply::Response;

use super::objects::{AuditEntry, AuditPage};
use super::request::Request;
use crate::http::problem::Problem;
use crate::http::response::json_response;

pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let limit = request.limit()?;
    let before =
        request.parsed("cursor", "the `next` of another page", |text| text.parse().ok())?;
    let device = request.parsed("device", "a device id", |text| DeviceId::new(text).ok())?;
    let query = AuditQuery { before, device, limit: limit as u32 };
    let records = request.state.audit.audit_page(&query).await?;
    let more = records.len() == limit;
    let next = records.last().filter(|_| more).map(|last| last.sequence.to_string());
    let entries = records.into_iter().map(AuditEntry::from).collect();
    Ok(json_response(&AuditPage { entries, next }))
}
