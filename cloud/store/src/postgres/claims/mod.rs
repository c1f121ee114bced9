//! Claims in PostgreSQL.

mod adding;
mod sql;

use std::net::IpAddr;

use fedecks_protocol::DeviceId;
use tokio::time::Instant;
use tokio_postgres::Row;

use self::adding::add;
use super::call::{CALL_TIMEOUT, Tx};
use super::columns::{address, device_id, get, optional_unsigned, to_column, unsigned};
use super::failure::Failure;
use super::lanes::Lane;
use super::store::{Line, PostgresStore};
use crate::approval_rules::KEPT_S;
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::claim_rules::{Cost, check_number, matches};
use crate::claims::{ClaimId, ClaimQuery, ClaimRecord, ClaimStore, ClaimUse, NewClaim};
use crate::error::StoreError;
use crate::time::unix_now;

/// How many rows are deleted at a time, so that nothing waits for it.
const STEP: u64 = 500;

impl ClaimStore for PostgresStore {
    fn add_claims<'a>(&'a self, claims: &'a [NewClaim], by: &'a Actor) -> StoreFuture<'a, ()> {
        if let Err(error) = check_number(claims) {
            return Box::pin(async move { Err(error) });
        }
        let (log, args) = (self.shared.log, (claims.to_vec(), by.clone()));
        self.write(Lane::Later, args, move |tx, (claims, by)| Box::pin(add(tx, log, claims, by)))
    }

    fn claims_page<'a>(&'a self, query: &'a ClaimQuery) -> StoreFuture<'a, Vec<ClaimRecord>> {
        Box::pin(self.page_of_claims(query.clone()))
    }

    fn claim(&self, id: ClaimId) -> StoreFuture<'_, Option<ClaimRecord>> {
        self.read(Lane::Read, to_column(id.number()), |tx, id| {
            Box::pin(async move {
                let sql = format!("SELECT {} FROM claims WHERE id = $1", sql::COLUMNS);
                tx.query_opt(&sql, &[id]).await?.as_ref().map(record).transpose()
            })
        })
    }

    fn claim_by_hash<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<ClaimRecord>> {
        self.read(Lane::Login, *hash, |tx, hash| {
            Box::pin(async move {
                let sql = format!("SELECT {} FROM claims WHERE hash = $1", sql::COLUMNS);
                tx.query_opt(&sql, &[&&hash[..]]).await?.as_ref().map(record).transpose()
            })
        })
    }

    fn claim_uses(
        &self,
        id: ClaimId,
        before: Option<u64>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<ClaimUse>> {
        let before = before.map_or(i64::MAX, to_column);
        let limit = i64::from(limit.min(ClaimUse::MAX_PAGE));
        let args = (to_column(id.number()), before, limit);
        self.read(Lane::Read, args, |tx, (id, before, limit)| {
            Box::pin(async move {
                let rows = tx.query(sql::USES, &[id, before, limit]).await?;
                rows.iter().map(claim_use).collect()
            })
        })
    }

    fn revoke_claim<'a>(&'a self, id: ClaimId, by: &'a Actor) -> StoreFuture<'a, bool> {
        let line = Line::new(by, AuditAction::ClaimRevoked).with_detail(id.to_string());
        self.execute_audited(Lane::Change, line, to_column(id.number()), |tx, id| {
            Box::pin(async move { tx.execute(sql::REVOKE, &[id, &to_column(unix_now())]).await })
        })
    }

    fn expire_claims(&self, now: u64) -> StoreFuture<'_, usize> {
        self.write(Lane::Bulk, now, |tx, now| Box::pin(expire(tx, *now)))
    }
}

/// The number of rows that a call reads to search in them.
const SCAN_ROWS: usize = 2000;

impl PostgresStore {
    /// A page. Texts and states are judged here, as they are in every store; other calls get their turn between the
    /// parts.
    async fn page_of_claims(&self, mut query: ClaimQuery) -> Result<Vec<ClaimRecord>, StoreError> {
        let since = Instant::now();
        let limit = query.limit.min(ClaimQuery::MAX) as usize;
        query.search = query.search.map(|search| search.to_lowercase());
        let mut before = match query.after {
            None => i64::MAX,
            Some(after) => self.number_of_claim(after).await?,
        };
        let all = query.search.is_none() && query.state.is_none();
        let rows = if all { limit } else { SCAN_ROWS };
        let mut found = Vec::new();
        while found.len() < limit {
            let part = self.part_of_claims(before, rows).await?;
            let is_last = part.len() < rows;
            before = part.last().map_or(before, |(number, _)| *number);
            let matching = part.into_iter().map(|(_, claim)| claim);
            let matching = matching.filter(|claim| matches(claim, &query));
            found.extend(matching.take(limit - found.len()));
            if is_last {
                break;
            }
            if since.elapsed() >= CALL_TIMEOUT {
                return Err(self.busy());
            }
        }
        Ok(found)
    }

    /// The claims before the one with this number, with theirs.
    fn part_of_claims(&self, before: i64, rows: usize) -> StoreFuture<'_, Vec<(i64, ClaimRecord)>> {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.read(Lane::Read, (before, rows), |tx, (before, rows)| {
            Box::pin(async move {
                let columns = sql::COLUMNS;
                let sql = format!(
                    "SELECT {columns} FROM claims WHERE number < $1 ORDER BY number DESC LIMIT $2"
                );
                let rows = tx.query(&sql, &[before, rows]).await?;
                rows.iter().map(|row| Ok((get(row, 0)?, record(row)?))).collect()
            })
        })
    }

    /// The place of a claim in the order of its pages; before all others if there is none of this id.
    fn number_of_claim(&self, id: ClaimId) -> StoreFuture<'_, i64> {
        self.read(Lane::Read, to_column(id.number()), |tx, id| {
            Box::pin(async move {
                let row = tx.query_opt(sql::NUMBER, &[id]).await?;
                row.map_or(Ok(0), |row| get(&row, 0))
            })
        })
    }
}

/// The claim whose secret has this SHA-256. No other transaction changes or uses it meanwhile.
pub(super) async fn lock_by_hash(tx: &Tx, hash: &[u8; 32]) -> Result<Option<ClaimRecord>, Failure> {
    let sql = format!("SELECT {} FROM claims WHERE hash = $1 FOR UPDATE", sql::COLUMNS);
    tx.query_opt(&sql, &[&&hash[..]]).await?.as_ref().map(record).transpose()
}

/// Counts a registration, in its transaction, which has locked the claim.
pub(super) async fn count_use(
    tx: &Tx,
    claim: &ClaimRecord,
    cost: Cost,
    (device, address): (&DeviceId, Option<IpAddr>),
    (at, returned): (u64, bool),
) -> Result<(), Failure> {
    let (more_used, more_returned) = cost.counted();
    let (used, returns) = (i64::from(more_used), i64::from(more_returned));
    let ends_at = cost.uses_up(claim).then(|| to_column(at));
    let id = to_column(claim.id.number());
    tx.execute(sql::COUNT_USE, &[&id, &used, &returns, &ends_at]).await?;
    let address = address.map(|address| address.to_string());
    let values: super::call::Values<'_> =
        &[&id, &device.as_str(), &to_column(at), &address, &returned];
    let number: i64 = get(&tx.query_one(sql::ADD_USE, values).await?, 0)?;
    let kept = number - i64::from(ClaimUse::MAX);
    if kept > 0 {
        tx.execute(sql::TRIM_USES, &[&kept]).await?;
    }
    Ok(())
}

async fn expire(tx: &Tx, now: u64) -> Result<usize, Failure> {
    let before = |kept: u64| to_column(now.saturating_sub(kept));
    let step = to_column(STEP);
    let mut deleted = tx.execute(sql::DELETE_APPROVALS, &[&before(KEPT_S), &step]).await?;
    for row in tx.query(sql::OLD, &[&before(ClaimRecord::KEPT_S), &step]).await? {
        let id: i64 = get(&row, 0)?;
        let left = STEP.saturating_sub(deleted);
        if left == 0 {
            break;
        }
        let uses = tx.execute(sql::DELETE_USES, &[&id, &to_column(left)]).await?;
        deleted += uses;
        if uses < left {
            deleted += tx.execute(sql::DELETE, &[&id]).await?;
        }
    }
    Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
}

fn record(row: &Row) -> Result<ClaimRecord, Failure> {
    let count = |column| get::<i64>(row, column)?.try_into().map_err(Failure::damaged);
    Ok(ClaimRecord {
        id: claim_id(row, 1)?,
        devices: get::<&str>(row, 2)?.parse().map_err(Failure::damaged)?,
        uses: count(3)?,
        used: count(4)?,
        returns: count(5)?,
        returned: count(6)?,
        expires_at: optional_unsigned(row, 7)?,
        revoked_at: optional_unsigned(row, 8)?,
        label: get(row, 9)?,
        approval: get(row, 10)?,
        note: get(row, 11)?,
        created_at: unsigned(row, 12)?,
        created_by: get(row, 13)?,
    })
}

pub(super) fn claim_id(row: &Row, column: usize) -> Result<ClaimId, Failure> {
    let id = ClaimId::from_number(unsigned(row, column)?);
    id.ok_or_else(|| Failure::damaged("a claim's id has more than 48 bits"))
}

fn claim_use(row: &Row) -> Result<ClaimUse, Failure> {
    Ok(ClaimUse {
        device: device_id(row, 0)?,
        number: unsigned(row, 1)?,
        at: unsigned(row, 2)?,
        address: address(row, 3)?,
        returned: get(row, 4)?,
    })
}
