//! Registers a device, in the transaction in which it is judged. It locks the device, then the claim.

use tokio_postgres::Row;

use super::{approvals, sql};
use crate::claim_rules::Cost;
use crate::claims::ClaimRecord;
use crate::judge::{Known, Verdict, audited, provenance};
use crate::notes::Seen;
use crate::postgres::audit_log::AuditLog;
use crate::postgres::call::Tx;
use crate::postgres::claims::{count_use, lock_by_hash};
use crate::postgres::columns::{
    bytes, from_column, get, optional_unsigned, text, to_column, unsigned,
};
use crate::postgres::devices::{access_changed, registration};
use crate::postgres::failure::Failure;
use crate::postgres::locks;
use crate::postgres::seen_notes::write_seen;
use crate::registrations::{
    RegisteredBy, Registration, RegistrationNonce, RegistrationOutcome, RegistrationProof,
    RegistrationRefusal, RegistrationRequest,
};

/// What let the device in or would have, as far as it is known.
type Judged = (RegistrationOutcome, Option<RegisteredBy>);

pub(super) async fn register(
    tx: &Tx,
    log: AuditLog,
    request: &RegistrationRequest,
    note: Option<Seen>,
) -> Result<Judged, Failure> {
    let device = request.device.as_str();
    locks::registering(tx, &request.device).await?;
    if let Some(note) = note {
        write_seen(tx, vec![(device, note)]).await?;
    }
    let known = tx.query_opt(sql::KNOWN, &[&device]).await?;
    let known = known.as_ref().map(known_row).transpose()?.unwrap_or_default();
    let claim = match &request.proof {
        RegistrationProof::Claim(hash) => lock_by_hash(tx, hash).await?,
        RegistrationProof::Account(_) | RegistrationProof::Certificate { .. } => None,
    };
    let Some((by, mut verdict)) = known.judge(request, claim.as_ref()) else {
        let refusal = RegistrationRefusal::UnknownClaim;
        return Ok((RegistrationOutcome::Refused(refusal), None));
    };
    if let (Some(claim), Ok(Verdict::Register(_))) = (&claim, &verdict) {
        if claim.approval {
            let approved = approvals::ask(tx, request, claim.id).await?;
            verdict = approved.and(verdict);
        }
    }
    let cost = match verdict {
        Ok(Verdict::Register(cost)) => cost,
        Ok(Verdict::Repeated) => return Ok((known.repeated(request, &by), Some(by))),
        Err(refusal) => return Ok((RegistrationOutcome::Refused(refusal), Some(by))),
    };
    let registration = provenance(request, by.clone());
    let claim = claim.as_ref().map(|claim| (claim, cost));
    let outcome = store(tx, log, request, known.exists, registration, claim).await?;
    Ok((outcome, Some(by)))
}

/// Stores a registration and what it costs.
async fn store(
    tx: &Tx,
    log: AuditLog,
    request: &RegistrationRequest,
    returned: bool,
    registration: Registration,
    claim: Option<(&ClaimRecord, Cost)>,
) -> Result<RegistrationOutcome, Failure> {
    let RegistrationRequest { device, proof, nonce, address, at, .. } = request;
    if let Some((claim, cost)) = claim {
        count_use(tx, claim, cost, (device, *address), (*at, returned)).await?;
    }
    let key = match proof {
        RegistrationProof::Certificate { key } => Some(&key[..]),
        RegistrationProof::Claim(_) | RegistrationProof::Account(_) => None,
    };
    let (id, at) = (device.as_str(), to_column(*at));
    let by = registration.by.to_string();
    let address = address.map(|address| address.to_string());
    let nonce = nonce.map(|nonce| nonce.0.to_vec());
    let label = claim.and_then(|(claim, _)| claim.label.as_deref());
    let lower = label.map(str::to_lowercase);
    let values: crate::postgres::call::Values<'_> =
        &[&id, &text(&by), &at, &address, &nonce, &label, &key, &lower];
    let row = tx.query_one(sql::REGISTER, values).await?;
    let mut generation = from_column(get(&row, 0)?);
    if returned {
        tx.execute(sql::RETURNED, &[&id, &at]).await?;
        generation = access_changed(tx, device).await?.generation;
    }
    log.add(tx, &[audited(&registration, request, returned)]).await?;
    Ok(RegistrationOutcome::Registered { registration, returned, generation })
}

fn known_row(row: &Row) -> Result<Known, Failure> {
    Ok(Known {
        exists: get(row, 0)?,
        blocked: get(row, 1)?,
        generation: unsigned(row, 2)?,
        registration: registration(row, 3)?,
        nonce: bytes(row, 6)?.map(RegistrationNonce),
        came_by_token: get(row, 7)?,
        returned_at: optional_unsigned(row, 8)?,
        reregistration_until: optional_unsigned(row, 9)?,
        certificate_key: bytes(row, 10)?,
        certificate_refused: get(row, 11)?,
    })
}
