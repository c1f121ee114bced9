//! `/revocations`: revokes the tokens of all devices that were registered by a claim or an account, or that
//! a pattern matches.

use fedecks_store::{ClaimId, DevicePattern, RegisteredBy, RevokeFilter, Role, check_account_name};
use http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::reply::Response;

use super::request::Request;
use super::route::{Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::json_response;
use crate::state::AppState;

pub(super) const ROUTES: &[Route] = &[Route::new(
    "revokeDevices",
    Method::POST,
    "/revocations",
    handler!(revoke),
)
.role(Role::Admin)
.all_devices()
.summary(
    "Revoke all tokens of the devices that were registered by a claim or an account, or that a pattern matches; of \
     those that meet all conditions that are given. With `dry_run` it only counts them",
)
.takes::<RevokedBy>()
.returns::<Revoked>("What was revoked")
.problems(&[Code::StoreUnavailable])];

/// Which devices to revoke: those that meet all conditions, of which there must be one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevokedBy {
    /// Those that this claim has registered.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    by_claim: Option<String>,
    /// Those that this account has registered.
    #[schema(min_length = 1, max_length = 128)]
    by_account: Option<String>,
    /// Those that this pattern matches, in which each `*` stands for any characters.
    #[schema(min_length = 1, max_length = 128)]
    devices: Option<String>,
    /// Revoke nothing, and say what would be; false by default.
    dry_run: Option<bool>,
}

/// What was revoked, or would be.
#[derive(Debug, Serialize, ToSchema)]
struct Revoked {
    /// How many devices.
    #[schema(minimum = 0, format = Int64)]
    count: u64,
    /// The first 100 of them.
    devices: Vec<String>,
    dry_run: bool,
}

async fn revoke(caller: Caller, request: Request) -> Result<Response, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidBody, detail);
    let RevokedBy { by_claim, by_account, devices, dry_run } = request.json()?;
    let by_claim = by_claim
        .map(|text| text.parse::<ClaimId>().map_err(|error| invalid(format!("by_claim: {error}"))));
    if let Some(name) = &by_account {
        check_account_name(name).map_err(|error| invalid(format!("by_account: {error}")))?;
    }
    let devices = devices.map(|text| {
        DevicePattern::new(&text).map_err(|error| invalid(format!("devices: {error}")))
    });
    let by = match (by_claim.transpose()?, by_account) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "no device is registered by a claim and an account: expected one".into(),
            ));
        }
        (claim, account) => claim.map(RegisteredBy::Claim).or(account.map(RegisteredBy::Account)),
    };
    let filter = RevokeFilter { by, devices: devices.transpose()? };
    if filter.by.is_none() && filter.devices.is_none() {
        return Err(invalid("expected by_claim, by_account or devices".into()));
    }
    let dry_run = dry_run.unwrap_or(false);
    let AppState { registrations, denylist, .. } = &*request.state;
    let revoked = registrations.revoke_matching(&filter, dry_run, &caller.actor()).await?;
    if !dry_run {
        denylist.refresh().await?;
    }
    let devices = revoked.devices.iter().map(ToString::to_string).collect();
    Ok(json_response(&Revoked { count: revoked.count, devices, dry_run }))
}
