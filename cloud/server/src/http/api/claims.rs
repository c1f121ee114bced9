//! `/claims`: the claims with which devices register themselves. How they are made is in `claims`.

use fedecks_cloud::DeviceId;
use fedecks_common::{parse_utc, utc};
use fedecks_store::{
    ClaimId, ClaimQuery, ClaimRecord, ClaimState, ClaimUse, DevicePattern, NewClaim, Role,
    StoreError,
};
use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::Reply;
use warp::reply::Response;

use super::input::{Parameter, ParameterKind};
use super::paging::{self, CURSOR, LIMIT};
use super::request::Request;
use super::route::{Content, Handler, Route, handler};
use super::schemas::Schemas;
use crate::claims::{ClaimDevices, ClaimOrder, InvalidOrder, check_url, csv, qr_text};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::{json_response, no_content};

const STORE: Code = Code::StoreUnavailable;

/// The largest order, in bytes: the ids of 10,000 devices.
const MAX_ORDER: usize = 1536 * 1024;

pub(super) const ROUTES: &[Route] = &[
    Route::new("listClaims", Method::GET, "/claims", handler!(list))
        .role(Role::Read)
        .all_devices()
        .summary("List the claims, without their secrets, the newest first")
        .query(&[
            Parameter::text(
                "search",
                "Only claims with this text in their id, devices, label or note, ignoring upper and lower case",
            ),
            Parameter {
                kind: ParameterKind::ClaimState,
                ..Parameter::text("state", "Only claims in this state")
            },
            CURSOR,
            LIMIT,
        ])
        .returns::<ClaimPage>("A page of claims")
        .problems(&[STORE]),
    Route::new("addClaims", Method::POST, "/claims", handler!(add))
        .role(Role::Admin)
        .all_devices()
        .summary(
            "Make claims, with which devices register themselves. The answer has their secrets, which cannot be \
             shown again; as CSV for a production line if the client prefers text/csv",
        )
        .takes_large::<NewClaims>(MAX_ORDER)
        .success(201, "Made", Content::JsonOrCsv(Schemas::of::<MadeClaims>))
        .problems(&[STORE, Code::TooManyClaims]),
    Route::new("getClaim", Method::GET, "/claims/{claim}", handler!(get))
        .role(Role::Read)
        .all_devices()
        .summary("Get a claim, without its secret")
        .returns::<Claim>("The claim")
        .problems(&[STORE, Code::ClaimNotFound]),
    Route::new("revokeClaim", Method::DELETE, "/claims/{claim}", handler!(revoke))
        .role(Role::Admin)
        .all_devices()
        .summary("Revoke a claim. The devices that it has registered keep their tokens")
        .returns_nothing("Revoked")
        .problems(&[STORE, Code::ClaimNotFound]),
    Route::new("listClaimUses", Method::GET, "/claims/{claim}/uses", handler!(uses))
        .role(Role::Read)
        .all_devices()
        .summary("List what a claim has registered, newest first")
        .query(&[CURSOR, LIMIT])
        .returns::<ClaimUsePage>("A page of uses")
        .problems(&[STORE, Code::ClaimNotFound]),
];

/// Claims to make: `count` of them for `devices`, or one for each of `ids`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewClaims {
    /// The devices that each claim may register: an id, or a pattern in which each `*` stands for any characters.
    #[schema(min_length = 1, max_length = 128)]
    devices: Option<String>,
    /// How many claims for `devices`; 1 by default.
    #[schema(minimum = 1, maximum = 10000)]
    count: Option<u32>,
    /// The ids of devices: a claim for each.
    #[schema(min_items = 1, max_items = 10000)]
    ids: Option<Vec<String>>,
    /// How many devices each claim registers; 1 by default, and for a single id.
    #[schema(minimum = 1, maximum = 1_000_000)]
    uses: Option<u32>,
    /// How often the device of a claim for a single id may come back without its token; 3 by default.
    #[schema(maximum = 1_000_000)]
    returns: Option<u32>,
    /// When the claims expire, in UTC; null if never.
    #[schema(format = DateTime)]
    expires: Option<String>,
    /// The label of the devices that they register.
    #[schema(min_length = 1, max_length = 128)]
    label: Option<String>,
    /// Whether an operator has to approve each device; false by default.
    approval: Option<bool>,
    /// For people.
    #[schema(min_length = 1, max_length = 128)]
    note: Option<String>,
    /// The URL of the cloud, for the text of the QR codes.
    #[schema(min_length = 6, max_length = 512, pattern = "^wss?://[!-~]+$")]
    url: Option<String>,
}

/// New claims.
#[derive(Serialize, ToSchema)]
struct MadeClaims {
    claims: Vec<MadeClaim>,
}

/// A new claim with its secret, which cannot be shown again.
#[derive(Serialize, ToSchema)]
struct MadeClaim {
    id: String,
    /// What the device presents.
    secret: String,
    /// An id, or a pattern.
    devices: String,
    uses: u32,
    /// When it expires; null if never.
    #[schema(required, format = DateTime)]
    expires: Option<String>,
    #[schema(required)]
    label: Option<String>,
    /// The text of its QR code.
    qr: String,
}

/// A page of claims.
#[derive(Debug, Serialize, ToSchema)]
struct ClaimPage {
    claims: Vec<Claim>,
    /// The cursor of the next page; null if this is the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A claim, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Claim {
    id: String,
    /// An id, or a pattern.
    devices: String,
    /// `active`, `used-up`, `expired` or `revoked`.
    state: String,
    /// How many devices it registers.
    uses: u32,
    /// How many it has registered.
    used: u32,
    /// How often its device may come back without its token.
    returns: u32,
    /// How often it has.
    returned: u32,
    /// When it expires; null if never.
    #[schema(required, format = DateTime)]
    expires: Option<String>,
    /// When it was revoked; null if it is not.
    #[schema(required, format = DateTime)]
    revoked_since: Option<String>,
    /// The label of the devices that it registers; null for none.
    #[schema(required)]
    label: Option<String>,
    /// Whether an operator has to approve each device.
    approval: bool,
    /// For people; null for none.
    #[schema(required)]
    note: Option<String>,
    #[schema(format = DateTime)]
    created: String,
    /// `cli`, or `token:` and the name of an API token.
    created_by: String,
}

/// A page of what a claim has registered.
#[derive(Debug, Serialize, ToSchema)]
struct ClaimUsePage {
    uses: Vec<ClaimUseEntry>,
    /// The cursor of the next page; null if this is the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A use of a claim.
#[derive(Debug, Serialize, ToSchema)]
struct ClaimUseEntry {
    device: String,
    #[schema(format = DateTime)]
    time: String,
    /// From which address; null if unknown.
    #[schema(required)]
    address: Option<String>,
    /// Whether the device was registered before, and has come back without its token.
    returned: bool,
}

impl NewClaims {
    /// The order, and the URL for the QR codes.
    fn order(self) -> Result<(ClaimOrder, Option<String>), Problem> {
        let invalid = |detail: String| Problem::new(Code::InvalidBody, detail);
        let devices = match (self.devices, self.ids, self.count) {
            (Some(devices), None, count) => {
                let pattern = DevicePattern::new(&devices)
                    .map_err(|error| invalid(format!("devices is {devices:?}: {error}")))?;
                ClaimDevices::Pattern(pattern, count.unwrap_or(1) as usize)
            }
            (None, Some(ids), None) => {
                let id = |id: String| {
                    let shown = id.chars().take(DeviceId::MAX_CHARS).collect::<String>();
                    DeviceId::new(id).map_err(|error| invalid(format!("{shown:?} in ids: {error}")))
                };
                ClaimDevices::Each(ids.into_iter().map(id).collect::<Result<_, _>>()?)
            }
            (None, Some(_), Some(_)) => {
                return Err(invalid("count is for devices, expected only ids".into()));
            }
            (Some(_), Some(_), _) | (None, None, _) => {
                return Err(invalid("expected either devices or ids".into()));
            }
        };
        let expires_at = self.expires.map(|text| {
            parse_utc(&text).ok_or_else(|| {
                let shown = text.chars().take(64).collect::<String>();
                invalid(format!(
                    "expires is {shown:?}, expected a time such as 2026-12-31T00:00:00Z"
                ))
            })
        });
        if let Some(url) = &self.url {
            check_url(url).map_err(|problem| invalid(format!("url: {problem}")))?;
        }
        let order = ClaimOrder {
            devices,
            uses: self.uses.unwrap_or(1),
            returns: self.returns,
            expires_at: expires_at.transpose()?,
            label: self.label,
            approval: self.approval.unwrap_or(false),
            note: self.note,
        };
        Ok((order, self.url))
    }
}

async fn add(caller: Caller, request: Request) -> Result<Response, Problem> {
    let (order, url) = request.json::<NewClaims>()?.order()?;
    let claims = order.fill(request.state.clock.now())?;
    match request.state.claims.add_claims(&claims, &caller.actor()).await {
        Ok(()) => {}
        Err(StoreError::TooMany { max, .. }) => {
            let detail = format!(
                "there may be {max} claims; those that nothing can use any more are deleted in time"
            );
            return Err(Problem::new(Code::TooManyClaims, detail));
        }
        Err(error) => return Err(error.into()),
    }
    let mut response = if request.prefers_csv {
        let mut response = csv(&claims, url.as_deref()).into_response();
        let kind = HeaderValue::from_static("text/csv; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    } else {
        let made = claims.iter().map(|claim| MadeClaim::new(claim, url.as_deref())).collect();
        json_response(&MadeClaims { claims: made })
    };
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

impl From<InvalidOrder> for Problem {
    fn from(error: InvalidOrder) -> Self {
        Self::new(Code::InvalidBody, error.to_string())
    }
}

impl MadeClaim {
    fn new(claim: &NewClaim, url: Option<&str>) -> Self {
        Self {
            id: claim.id.to_string(),
            secret: claim.secret.expose().to_owned(),
            devices: claim.devices.to_string(),
            uses: claim.uses,
            expires: claim.expires_at.map(utc),
            label: claim.label.clone(),
            qr: qr_text(claim, url),
        }
    }
}

async fn list(_: Caller, request: Request) -> Result<Response, Problem> {
    let limit = paging::limit(&request)?;
    let after = paging::cursor(&request, |text| text.parse().ok())?;
    let expected = "active, used-up, expired or revoked";
    let state = request.parsed("state", expected, ClaimState::from_word)?;
    let search = request.query("search").filter(|text| !text.is_empty()).map(str::to_owned);
    let now = request.state.clock.now();
    let query = ClaimQuery { after, limit: limit as u32, search, state, now };
    let records = request.state.claims.claims_page(&query).await?;
    let more = records.len() == limit;
    let next = records.last().filter(|_| more).map(|last| last.id.to_string());
    let claims = records.into_iter().map(|record| Claim::new(record, now)).collect();
    Ok(json_response(&ClaimPage { claims, next }))
}

async fn get(_: Caller, request: Request) -> Result<Response, Problem> {
    let record = find(&request).await?;
    Ok(json_response(&Claim::new(record, request.state.clock.now())))
}

async fn revoke(caller: Caller, request: Request) -> Result<Response, Problem> {
    let claim = find(&request).await?;
    request.state.claims.revoke_claim(claim.id, &caller.actor()).await?;
    Ok(no_content())
}

async fn uses(_: Caller, request: Request) -> Result<Response, Problem> {
    let limit = paging::limit(&request)?;
    let before = paging::cursor(&request, |text| text.parse().ok())?;
    let claim = find(&request).await?;
    let uses = request.state.claims.claim_uses(claim.id, before, limit as u32).await?;
    let more = uses.len() == limit;
    let next = uses.last().filter(|_| more).map(|last| last.number.to_string());
    let uses = uses.into_iter().map(ClaimUseEntry::new).collect();
    Ok(json_response(&ClaimUsePage { uses, next }))
}

/// The claim in the path.
async fn find(request: &Request) -> Result<ClaimRecord, Problem> {
    let not_found = || Problem::new(Code::ClaimNotFound, "no claim with this id");
    let id = request.name().parse::<ClaimId>().map_err(|_| not_found())?;
    request.state.claims.claim(id).await?.ok_or_else(not_found)
}

impl Claim {
    fn new(record: ClaimRecord, now: u64) -> Self {
        Self {
            state: record.state(now).as_str().to_owned(),
            id: record.id.to_string(),
            devices: record.devices.to_string(),
            uses: record.uses,
            used: record.used,
            returns: record.returns,
            returned: record.returned,
            expires: record.expires_at.map(utc),
            revoked_since: record.revoked_at.map(utc),
            label: record.label,
            approval: record.approval,
            note: record.note,
            created: utc(record.created_at),
            created_by: record.created_by,
        }
    }
}

impl ClaimUseEntry {
    fn new(of: ClaimUse) -> Self {
        Self {
            device: of.device.to_string(),
            time: utc(of.at),
            address: of.address.map(|address| address.to_string()),
            returned: of.returned,
        }
    }
}
