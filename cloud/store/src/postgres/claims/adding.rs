//! Adds claims, all or none.

use std::collections::HashSet;

use super::sql;
use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::claim_rules::{Obstacle, counts, summary};
use crate::claims::{ClaimRecord, NewClaim};
use crate::postgres::audit_log::AuditLog;
use crate::postgres::call::Tx;
use crate::postgres::columns::{get, text, to_column, unsigned};
use crate::postgres::failure::Failure;
use crate::postgres::locks;
use crate::time::unix_now;

pub(super) async fn add(
    tx: &Tx,
    log: AuditLog,
    claims: &[NewClaim],
    by: &Actor,
) -> Result<(), Failure> {
    // Without it, two servers could add more than the maximum, or one of them the id of the other.
    locks::take(tx, locks::CLAIMS).await?;
    let new = Columns::of(claims);
    if let Some(obstacle) = obstacle(tx, claims, &new).await? {
        return Err(Failure::Refused(obstacle.into()));
    }
    let now = unix_now();
    new.insert(tx, now, by).await?;
    let Some(detail) = summary(claims) else { return Ok(()) };
    let (by, action, detail) = (by.clone(), AuditAction::ClaimsAdded, Some(detail));
    log.add(tx, &[AuditEntry { at: now, by, action, device: None, detail }]).await
}

async fn obstacle(
    tx: &Tx,
    claims: &[NewClaim],
    new: &Columns,
) -> Result<Option<Obstacle>, Failure> {
    let count = unsigned(&tx.query_one(sql::COUNT, &[]).await?, 0)?;
    if count.saturating_add(claims.len() as u64) > u64::from(ClaimRecord::MAX) {
        return Ok(Some(Obstacle::TooMany));
    }
    let (mut ids, mut hashes) = (HashSet::new(), HashSet::new());
    for row in tx.query(sql::TAKEN, &[&new.ids, &new.hashes]).await? {
        ids.insert(get::<i64>(&row, 0)?);
        hashes.insert(get::<Vec<u8>>(&row, 1)?);
    }
    for ((claim, id), hash) in claims.iter().zip(&new.ids).zip(&new.hashes) {
        let is_new = ids.insert(*id) && hashes.insert(hash.clone());
        if !is_new {
            return Ok(Some(Obstacle::Exists(claim.id)));
        }
    }
    Ok(None)
}

/// The columns of new claims.
#[derive(Default)]
struct Columns {
    ids: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    devices: Vec<String>,
    uses: Vec<i64>,
    returns: Vec<i64>,
    expires_at: Vec<Option<i64>>,
    labels: Vec<Option<String>>,
    approval: Vec<bool>,
    notes: Vec<Option<String>>,
}

impl Columns {
    fn of(claims: &[NewClaim]) -> Self {
        let mut columns = Self::default();
        let kept = |text_: &Option<String>| text_.as_deref().map(|it| text(it).into_owned());
        for claim in claims {
            let NewClaim { id, secret, devices, expires_at, label, approval, note, .. } = claim;
            let (uses, returns) = counts(claim);
            columns.ids.push(to_column(id.number()));
            columns.hashes.push(secret.hash().to_vec());
            columns.devices.push(devices.as_str().to_owned());
            columns.uses.push(uses.into());
            columns.returns.push(returns.into());
            columns.expires_at.push(expires_at.map(to_column));
            columns.labels.push(kept(label));
            columns.approval.push(*approval);
            columns.notes.push(kept(note));
        }
        columns
    }

    async fn insert(&self, tx: &Tx, now: u64, by: &Actor) -> Result<(), Failure> {
        let Self { ids, hashes, devices, uses, returns, expires_at, .. } = self;
        let Self { labels, approval, notes, .. } = self;
        let by = text(by.as_str());
        let (now, by): (i64, &str) = (to_column(now), &by);
        tx.execute(
            sql::ADD,
            &[ids, hashes, devices, uses, returns, expires_at, labels, approval, notes, &now, &by],
        )
        .await
        .map(drop)
    }
}
