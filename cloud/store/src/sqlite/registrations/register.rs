//! Registers a device, in the transaction in which it is judged.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::approvals;
use super::sql;
use crate::claim_rules::Cost;
use crate::claims::ClaimRecord;
use crate::judge::{Known, Verdict, audited, provenance};
use crate::registrations::{
    RegisteredBy, Registration, RegistrationNonce, RegistrationOutcome, RegistrationProof,
    RegistrationRefusal, RegistrationRequest,
};
use crate::sqlite::audit_log::AuditLog;
use crate::sqlite::claims::{by_hash, count_use};
use crate::sqlite::columns::{optional_unsigned, to_column, unsigned};
use crate::sqlite::devices::{NEXT_CHANGE, registration};

/// What let the device in or would have, as far as it is known.
type Judged = (RegistrationOutcome, Option<RegisteredBy>);

pub(super) fn register(
    tx: &Connection,
    log: AuditLog,
    request: &RegistrationRequest,
) -> rusqlite::Result<Judged> {
    let known = known(tx, request.device.as_str())?;
    let claim = match &request.proof {
        RegistrationProof::Claim(hash) => by_hash(tx, hash)?,
        RegistrationProof::Account(_) | RegistrationProof::Certificate { .. } => None,
    };
    let Some((by, mut verdict)) = known.judge(request, claim.as_ref()) else {
        let refusal = RegistrationRefusal::UnknownClaim;
        return Ok((RegistrationOutcome::Refused(refusal), None));
    };
    if let (Some(claim), Ok(Verdict::Register(_))) = (&claim, &verdict) {
        if claim.approval {
            let approved = approvals::ask(tx, request, claim.id)?;
            verdict = approved.and(verdict);
        }
    }
    let cost = match verdict {
        Ok(Verdict::Register(cost)) => cost,
        Ok(Verdict::Repeated) => return Ok((known.repeated(request, &by), Some(by))),
        Err(refusal) => return Ok((RegistrationOutcome::Refused(refusal), Some(by))),
    };
    let registration = provenance(request, by.clone());
    let outcome =
        store(tx, log, request, &known, registration, claim.as_ref().map(|it| (it, cost)));
    Ok((outcome?, Some(by)))
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
    log.add(tx, &audited(&registration, request, returned))?;
    let generation = u64::try_from(generation).unwrap_or(0);
    Ok(RegistrationOutcome::Registered { registration, returned, generation })
}

/// What the store knows about the id of a device.
fn known(tx: &Connection, device: &str) -> rusqlite::Result<Known> {
    let known = tx.prepare_cached(sql::KNOWN)?.query_row([device], known_row).optional()?;
    Ok(known.unwrap_or_default())
}

fn known_row(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        exists: row.get(0)?,
        blocked: row.get(1)?,
        generation: unsigned(row, 2)?,
        registration: registration(row, 3)?,
        nonce: row.get::<_, Option<[u8; 16]>>(6)?.map(RegistrationNonce),
        came_by_token: row.get(7)?,
        returned_at: optional_unsigned(row, 8)?,
        reregistration_until: optional_unsigned(row, 9)?,
        certificate_key: row.get(10)?,
        certificate_refused: row.get(11)?,
    })
}
