//! Registrations that wait for an operator, and what was decided about them.

use tokio_postgres::Row;

use super::sql;
use crate::approval_rules::{Asked, Change, Decision, Next};
use crate::claims::ClaimId;
use crate::postgres::call::Tx;
use crate::postgres::claims::claim_id;
use crate::postgres::columns::{address, bytes, device_id, get, to_column, unsigned};
use crate::postgres::failure::Failure;
use crate::postgres::locks;
use crate::registrations::{Approval, RegistrationNonce, RegistrationRefusal, RegistrationRequest};

/// Whether an operator has approved this registration. If not, it waits from now on.
pub(super) async fn ask(
    tx: &Tx,
    request: &RegistrationRequest,
    claim: ClaimId,
) -> Result<Result<(), RegistrationRefusal>, Failure> {
    let device = request.device.as_str();
    let asked = tx.query_opt(sql::APPROVAL, &[&device]).await?;
    let Some(asked) = asked.as_ref().map(asked_row).transpose()? else {
        make_room(tx).await?;
        wait(tx, request, claim).await?;
        return Ok(Err(RegistrationRefusal::ApprovalPending));
    };
    let (refusal, change) = match asked.again(request, claim) {
        Next::Register => {
            tx.execute(sql::DELETE_APPROVAL, &[&device]).await?;
            return Ok(Ok(()));
        }
        Next::Refuse(refusal, change) => (refusal, change),
    };
    match change {
        Change::Nothing => {}
        Change::AskedAgain => {
            let address = request.address.map(|address| address.to_string());
            tx.execute(sql::ASKED_AGAIN, &[&device, &to_column(request.at), &address]).await?;
        }
        Change::Replace => wait(tx, request, claim).await?,
    }
    Ok(Err(refusal))
}

/// The registration waits.
async fn wait(tx: &Tx, request: &RegistrationRequest, claim: ClaimId) -> Result<(), Failure> {
    let nonce = request.nonce.map(|nonce| nonce.0.to_vec());
    let address = request.address.map(|address| address.to_string());
    let (device, at) = (request.device.as_str(), to_column(request.at));
    let values: crate::postgres::call::Values<'_> =
        &[&device, &to_column(claim.number()), &nonce, &at, &address];
    tx.execute(sql::SAVE_APPROVAL, values).await.map(drop)
}

/// Drops the entry that has not asked again for the longest time if there is no room for another one.
async fn make_room(tx: &Tx) -> Result<(), Failure> {
    locks::take(tx, locks::APPROVALS).await?;
    let count: i64 = get(&tx.query_one(sql::COUNT_APPROVALS, &[]).await?, 0)?;
    let above = count + 1 - i64::from(Approval::MAX);
    if above > 0 {
        tx.execute(sql::GIVE_UP_APPROVALS, &[&above]).await?;
    }
    Ok(())
}

/// What waits, after a device.
pub(super) async fn page(tx: &Tx, after: &str, limit: i64) -> Result<Vec<Approval>, Failure> {
    tx.query(sql::APPROVALS, &[&after, &limit]).await?.iter().map(approval).collect()
}

fn approval(row: &Row) -> Result<Approval, Failure> {
    Ok(Approval {
        device: device_id(row, 0)?,
        claim: claim_id(row, 1)?,
        since: unsigned(row, 2)?,
        asked_at: unsigned(row, 3)?,
        address: address(row, 4)?,
    })
}

fn asked_row(row: &Row) -> Result<Asked, Failure> {
    let number: i16 = get(row, 6)?;
    let decision = Decision::from_number(number.into())
        .ok_or_else(|| Failure::damaged(format!("{number} is not a state")))?;
    Ok(Asked { approval: approval(row)?, nonce: bytes(row, 5)?.map(RegistrationNonce), decision })
}
