//! Registrations that wait for an operator, and what was decided about them.

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sql;
use crate::approval_rules::{Asked, Change, Decision, Next};
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::claims::ClaimId;
use crate::registrations::{Approval, RegistrationNonce, RegistrationRefusal, RegistrationRequest};
use crate::sqlite::columns::{address, damaged, to_column, unsigned};
use crate::sqlite::devices::device_id;
use crate::sqlite::store::SqliteStore;
use crate::time::unix_now;

impl SqliteStore {
    /// Decides about what waits. Returns false if nothing does.
    pub(super) fn decide<'a>(
        &'a self,
        device: &'a DeviceId,
        decision: Decision,
        action: AuditAction,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let id = device.clone();
        let decided = self.write_audited(by, action, Some(device), None, move |tx| {
            let parameters = params![id.as_str(), decision as i64, to_column(unix_now())];
            let rows = tx.prepare_cached(sql::DECIDE)?.execute(parameters)?;
            Ok((rows > 0).then_some(()))
        });
        Box::pin(async move { Ok(decided.await?.is_some()) })
    }
}

/// Whether an operator has approved this registration. If not, it waits from now on.
pub(super) fn ask(
    tx: &Connection,
    request: &RegistrationRequest,
    claim: ClaimId,
) -> rusqlite::Result<Result<(), RegistrationRefusal>> {
    let device = request.device.as_str();
    let asked = tx.prepare_cached(sql::APPROVAL)?.query_row([device], asked).optional()?;
    let Some(asked) = asked else {
        make_room(tx)?;
        wait(tx, request, claim)?;
        return Ok(Err(RegistrationRefusal::ApprovalPending));
    };
    let (refusal, change) = match asked.again(request, claim) {
        Next::Register => {
            tx.prepare_cached(sql::DELETE_APPROVAL)?.execute([device])?;
            return Ok(Ok(()));
        }
        Next::Refuse(refusal, change) => (refusal, change),
    };
    match change {
        Change::Nothing => {}
        Change::AskedAgain => {
            let address = request.address.map(|address| address.to_string());
            let parameters = params![device, to_column(request.at), address];
            tx.prepare_cached(sql::ASKED_AGAIN)?.execute(parameters)?;
        }
        Change::Replace => wait(tx, request, claim)?,
    }
    Ok(Err(refusal))
}

/// The registration waits.
fn wait(tx: &Connection, request: &RegistrationRequest, claim: ClaimId) -> rusqlite::Result<()> {
    tx.prepare_cached(sql::SAVE_APPROVAL)?
        .execute(params![
            request.device.as_str(),
            to_column(claim.number()),
            request.nonce.map(|nonce| nonce.0),
            to_column(request.at),
            request.address.map(|address| address.to_string()),
        ])
        .map(drop)
}

/// Drops the entry that has not asked again for the longest time if there is no room for another one.
fn make_room(tx: &Connection) -> rusqlite::Result<()> {
    let count: u32 = tx.prepare_cached(sql::COUNT_APPROVALS)?.query_row([], |row| row.get(0))?;
    let above = (count + 1).saturating_sub(Approval::MAX);
    if above > 0 {
        tx.prepare_cached(sql::GIVE_UP_APPROVALS)?.execute([above])?;
    }
    Ok(())
}

/// What waits, after a device.
pub(super) fn page(
    database: &Connection,
    after: &str,
    limit: u32,
) -> rusqlite::Result<Vec<Approval>> {
    database.prepare_cached(sql::APPROVALS)?.query_map(params![after, limit], approval)?.collect()
}

fn approval(row: &Row<'_>) -> rusqlite::Result<Approval> {
    Ok(Approval {
        device: device_id(row)?,
        claim: ClaimId::from_number(unsigned(row, 1)?)
            .ok_or_else(|| damaged(1, "more than 48 bits"))?,
        since: unsigned(row, 2)?,
        asked_at: unsigned(row, 3)?,
        address: address(row, 4)?,
    })
}

fn asked(row: &Row<'_>) -> rusqlite::Result<Asked> {
    let number = row.get(6)?;
    let decision = Decision::from_number(number)
        .ok_or_else(|| damaged(6, format!("{number} is not a state")))?;
    let nonce = row.get::<_, Option<[u8; 16]>>(5)?.map(RegistrationNonce);
    Ok(Asked { approval: approval(row)?, nonce, decision })
}
