//! Registers a device, in the transaction in which it is judged.

use rusqlite::{Connection, params};

use super::approvals;
use super::judge::{Known, Verdict};
use super::sql;
use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::claims::ClaimRecord;
use crate::registrations::{
    RegisteredBy, Registration, RegistrationOutcome, RegistrationProof, RegistrationRefusal,
    RegistrationRequest,
};
use crate::sqlite::audit_log::AuditLog;
use crate::sqlite::claims::{Cost, by_hash, count_use};
use crate::sqlite::columns::to_column;
use crate::sqlite::devices::NEXT_CHANGE;

/// What let the device in or would have, as far as it is known.
type Judged = (RegistrationOutcome, Option<RegisteredBy>);

pub(super) fn register(
    tx: &Connection,
    log: AuditLog,
    request: &RegistrationRequest,
) -> rusqlite::Result<Judged> {
    let known = Known::read(tx, request.device.as_str())?;
    let (by, claim, verdict) = match &request.proof {
        RegistrationProof::Claim(hash) => {
            let Some(claim) = by_hash(tx, hash)? else {
                let refusal = RegistrationRefusal::UnknownClaim;
                return Ok((RegistrationOutcome::Refused(refusal), None));
            };
            let mut verdict = known.by_claim(request, &claim);
            if claim.approval && matches!(verdict, Ok(Verdict::Register(_))) {
                let approved = approvals::ask(tx, request, claim.id)?;
                verdict = approved.and(verdict);
            }
            (RegisteredBy::Claim(claim.id), Some(claim), verdict)
        }
        RegistrationProof::Account(name) => {
            let by = RegisteredBy::Account(name.clone());
            let verdict = known.by_account(request, &by);
            (by, None, verdict)
        }
        RegistrationProof::Certificate { key } => {
            let verdict = known.by_certificate(request, *key);
            (RegisteredBy::Certificate { key: *key }, None, verdict)
        }
    };
    let cost = match verdict {
        Ok(Verdict::Register(cost)) => cost,
        Ok(Verdict::Repeated) => {
            let Known { generation, registration, .. } = known;
            // It is the one by which the login was recognized.
            let registration = registration.unwrap_or_else(|| provenance(request, by.clone()));
            let outcome = RegistrationOutcome::Repeated { registration, generation };
            return Ok((outcome, Some(by)));
        }
        Err(refusal) => return Ok((RegistrationOutcome::Refused(refusal), Some(by))),
    };
    let registration = provenance(request, by.clone());
    let outcome =
        store(tx, log, request, &known, registration, claim.as_ref().map(|it| (it, cost)));
    Ok((outcome?, Some(by)))
}

fn provenance(request: &RegistrationRequest, by: RegisteredBy) -> Registration {
    Registration { by, at: request.at, address: request.address }
}

/// Stores a registration and what it costs.
fn store(
    tx: &Connection,
    log: AuditLog,
    request: &RegistrationRequest,
    known: &Known,
    registration: Registration,
    claim: Option<(&ClaimRecord, Cost)>,
) -> rusqlite::Result<RegistrationOutcome> {
    let RegistrationRequest { device, proof, nonce, address, at, .. } = request;
    let returned = known.exists;
    if let Some((claim, cost)) = claim {
        count_use(tx, claim, cost, (device, *address), (*at, returned))?;
    }
    let key = match proof {
        RegistrationProof::Certificate { key } => Some(*key),
        RegistrationProof::Claim(_) | RegistrationProof::Account(_) => None,
    };
    let mut generation = tx.prepare_cached(sql::REGISTER)?.query_row(
        params![
            device.as_str(),
            registration.by.to_string(),
            to_column(*at),
            address.map(|address| address.to_string()),
            nonce.map(|nonce| nonce.0),
            claim.and_then(|(claim, _)| claim.label.as_deref()),
            key,
        ],
        |row| row.get::<_, i64>(0),
    )?;
    if returned {
        let raise = format!(
            "UPDATE devices SET generation = max(generation + 1, ?2), returned_at = ?2, change = {NEXT_CHANGE}
             WHERE id = ?1 RETURNING generation"
        );
        let parameters = params![device.as_str(), to_column(*at)];
        generation = tx.prepare_cached(&raise)?.query_row(parameters, |row| row.get(0))?;
    }
    let actor = Actor::registrant(&registration.by);
    let by = address.iter().fold(actor, |by, address| by.from_address(*address));
    let action = if returned { AuditAction::Returned } else { AuditAction::Registered };
    let device = Some(device.clone());
    log.add(tx, &AuditEntry { at: *at, by, action, device, detail: None })?;
    let generation = u64::try_from(generation).unwrap_or(0);
    Ok(RegistrationOutcome::Registered { registration, returned, generation })
}
