//! What the commands for claims print, for people and as JSON and CSV.

use fedecks_common::utc;
use fedecks_store::{ClaimId, ClaimRecord, ClaimUse, NewClaim};
use serde_json::{Value, json};

use crate::claims::qr_text;
use crate::cli::output::{Row, utc_or_never};

/// A new claim, with its secret.
pub(super) fn made(claim: &NewClaim, url: Option<&str>) -> Row {
    let NewClaim { id, secret, devices, uses, expires_at, label, .. } = claim;
    let json = json!({
        "id": id.to_string(),
        "secret": secret.expose(),
        "devices": devices.as_str(),
        "uses": uses,
        "expires": expires_at.map(utc),
        "label": label,
        "qr": qr_text(claim, url),
    });
    Row { columns: secret.expose().to_owned(), json }
}

/// The names of the columns of claims.
pub(super) const CLAIMS: &str = "id,devices,state,uses,used,returns,returned,expires_at,revoked_at,label,approval,note,created_at,created_by\n";

/// Those of what claims have registered.
pub(super) const USES: &str = "claim,device,at,address,returned\n";

pub(super) fn claim_fields(claim: &ClaimRecord, now: u64) -> [String; 14] {
    let time = |at: Option<u64>| at.map(utc).unwrap_or_default();
    [
        claim.id.to_string(),
        claim.devices.to_string(),
        claim.state(now).as_str().to_owned(),
        claim.uses.to_string(),
        claim.used.to_string(),
        claim.returns.to_string(),
        claim.returned.to_string(),
        time(claim.expires_at),
        time(claim.revoked_at),
        claim.label.clone().unwrap_or_default(),
        claim.approval.to_string(),
        claim.note.clone().unwrap_or_default(),
        utc(claim.created_at),
        claim.created_by.clone(),
    ]
}

pub(super) fn use_fields(claim: ClaimId, one: &ClaimUse) -> [String; 5] {
    [
        claim.to_string(),
        one.device.to_string(),
        utc(one.at),
        one.address.map(|address| address.to_string()).unwrap_or_default(),
        one.returned.to_string(),
    ]
}

pub(super) fn row(claim: &ClaimRecord, now: u64) -> Row {
    let columns = format!(
        "{}\t{}\t{}\t{}/{}\t{}\t{}\t{}\t{}",
        claim.id,
        claim.devices,
        claim.state(now).as_str(),
        claim.used,
        claim.uses,
        utc_or_never(claim.expires_at),
        utc(claim.created_at),
        claim.label.as_deref().unwrap_or("-"),
        claim.note.as_deref().unwrap_or("-")
    );
    Row { columns, json: object(claim, now) }
}

pub(super) fn status(claim: &ClaimRecord, now: u64) -> Row {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let time = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), utc);
    let columns = format!(
        "claim: {}\ndevices: {}\nstate: {}\nused: {} of {}\nreturned: {} of {}\nexpires: {}\nrevoked: {}\nlabel: {}\n\
         approval: {}\nnote: {}\nadded: {} by {}",
        claim.id,
        claim.devices,
        claim.state(now).as_str(),
        claim.used,
        claim.uses,
        claim.returned,
        claim.returns,
        utc_or_never(claim.expires_at),
        time(claim.revoked_at),
        text(&claim.label),
        if claim.approval { "needed" } else { "not needed" },
        text(&claim.note),
        utc(claim.created_at),
        claim.created_by
    );
    Row { columns, json: object(claim, now) }
}

fn object(claim: &ClaimRecord, now: u64) -> Value {
    json!({
        "id": claim.id.to_string(),
        "devices": claim.devices.as_str(),
        "state": claim.state(now).as_str(),
        "uses": claim.uses,
        "used": claim.used,
        "returns": claim.returns,
        "returned": claim.returned,
        "expires": claim.expires_at.map(utc),
        "revoked_since": claim.revoked_at.map(utc),
        "label": claim.label,
        "approval": claim.approval,
        "note": claim.note,
        "created": utc(claim.created_at),
        "created_by": claim.created_by,
    })
}

pub(super) fn use_row(one: &ClaimUse) -> Row {
    let (device, time) = (&one.device, utc(one.at));
    let address = one.address.map(|address| address.to_string());
    let word = if one.returned { "returned" } else { "registered" };
    let columns = format!("{device}\t{time}\t{}\t{word}", address.as_deref().unwrap_or("-"));
    let json = json!({
        "device": device.as_str(),
        "time": time,
        "address": address,
        "returned": one.returned,
    });
    Row { columns, json }
}
