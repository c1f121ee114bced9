//! Claims in SQLite.

mod sql;

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Instant;

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::columns::{address, damaged, optional_unsigned, to_column, unsigned};
use super::device_list::SCAN_ROWS;
use super::devices::device_id;
use super::store::SqliteStore;
use super::worker::CALL_TIMEOUT;
use crate::approval_rules::KEPT_S;
use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::boxed::StoreFuture;
use crate::claim_rules::{Cost, Obstacle, check_number, counts, matches, summary};
use crate::claims::{ClaimId, ClaimQuery, ClaimRecord, ClaimStore, ClaimUse, NewClaim};
use crate::time::unix_now;

/// How many rows are deleted at a time, so that nothing waits for it.
const STEP: usize = 500;

impl ClaimStore for SqliteStore {
    fn add_claims<'a>(&'a self, claims: &'a [NewClaim], by: &'a Actor) -> StoreFuture<'a, ()> {
        if let Err(error) = check_number(claims) {
            return Box::pin(async move { Err(error) });
        }
        let (log, claims, by) = (self.log, claims.to_vec(), by.clone());
        let added = self.write_later(move |tx| {
            if let Some(obstacle) = obstacle(tx, &claims)? {
                return Ok(Some(obstacle));
            }
            let now = unix_now();
            for claim in &claims {
                add(tx, claim, now, &by)?;
            }
            if let Some(detail) = summary(&claims) {
                let (by, action, detail) = (by.clone(), AuditAction::ClaimsAdded, Some(detail));
                log.add(tx, &AuditEntry { at: now, by, action, device: None, detail })?;
            }
            Ok(None)
        });
        Box::pin(async move { added.await?.map_or(Ok(()), |obstacle| Err(obstacle.into())) })
    }

    fn claims_page<'a>(&'a self, query: &'a ClaimQuery) -> StoreFuture<'a, Vec<ClaimRecord>> {
        let since = Instant::now();
        Box::pin(async move {
            let mut query = query.clone();
            query.limit = query.limit.min(ClaimQuery::MAX);
            query.search = query.search.map(|search| search.to_lowercase());
            let mut before = match query.after {
                None => i64::MAX,
                Some(after) => self.read(move |database| number(database, after)).await?,
            };
            let mut found = Vec::new();
            loop {
                let part = query.clone();
                let scan = move |database: &mut _| scan(database, &part, before);
                let Scan { claims, stopped_at } = self.read(scan).await?;
                query.limit -= u32::try_from(claims.len()).unwrap_or(query.limit);
                found.extend(claims);
                match stopped_at {
                    Some(last) if query.limit > 0 => before = last,
                    _ => return Ok(found),
                }
                if since.elapsed() >= CALL_TIMEOUT {
                    return Err(self.busy());
                }
            }
        })
    }

    fn claim(&self, id: ClaimId) -> StoreFuture<'_, Option<ClaimRecord>> {
        self.read(move |database| find(database, "id", to_column(id.number())))
    }

    fn claim_by_hash<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<ClaimRecord>> {
        let hash = *hash;
        self.read_for_login(move |database| by_hash(database, &hash))
    }

    fn claim_uses(
        &self,
        id: ClaimId,
        before: Option<u64>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<ClaimUse>> {
        let before = before.map_or(i64::MAX, to_column);
        let limit = limit.min(ClaimUse::MAX_PAGE);
        self.read(move |database| {
            let parameters = params![to_column(id.number()), before, limit];
            database.prepare_cached(sql::USES)?.query_map(parameters, claim_use)?.collect()
        })
    }

    fn revoke_claim<'a>(&'a self, id: ClaimId, by: &'a Actor) -> StoreFuture<'a, bool> {
        let values = vec![to_column(id.number()).into(), to_column(unix_now()).into()];
        let detail = id.to_string();
        self.execute_audited(sql::REVOKE, values, by, AuditAction::ClaimRevoked, Some(&detail))
    }

    fn expire_claims(&self, now: u64) -> StoreFuture<'_, usize> {
        self.write_bulk(move |tx| expire(tx, now))
    }
}

fn obstacle(tx: &Transaction<'_>, claims: &[NewClaim]) -> rusqlite::Result<Option<Obstacle>> {
    let count: usize = tx.prepare_cached(sql::COUNT)?.query_row([], |row| row.get(0))?;
    if count.saturating_add(claims.len()) > ClaimRecord::MAX as usize {
        return Ok(Some(Obstacle::TooMany));
    }
    let (mut ids, mut hashes) = (HashSet::new(), HashSet::new());
    let mut is_taken = tx.prepare_cached(sql::IS_TAKEN)?;
    for NewClaim { id, secret, .. } in claims {
        let hash = secret.hash();
        let parameters = params![to_column(id.number()), hash];
        let is_new = ids.insert(*id) && hashes.insert(hash);
        if !is_new || is_taken.query_row(parameters, |row| row.get(0))? {
            return Ok(Some(Obstacle::Exists(*id)));
        }
    }
    Ok(None)
}

fn add(tx: &Transaction<'_>, claim: &NewClaim, now: u64, by: &Actor) -> rusqlite::Result<()> {
    let NewClaim { id, secret, devices, expires_at, label, approval, note, .. } = claim;
    let (uses, returns) = counts(claim);
    tx.prepare_cached(sql::ADD)?
        .execute(params![
            to_column(id.number()),
            secret.hash(),
            devices.as_str(),
            uses,
            returns,
            expires_at.map(to_column),
            label,
            approval,
            note,
            to_column(now),
            by.as_str(),
        ])
        .map(drop)
}

/// A part of the answer to a query.
struct Scan {
    claims: Vec<ClaimRecord>,
    /// The number of the last claim that was read; `None` if no more are left or needed.
    stopped_at: Option<i64>,
}

/// Reads at most [`SCAN_ROWS`] rows before the one with this number. The search is in lower case.
fn scan(database: &Connection, query: &ClaimQuery, before: i64) -> rusqlite::Result<Scan> {
    let limit = query.limit as usize;
    let columns = sql::COLUMNS;
    let sql = format!("SELECT {columns} FROM claims WHERE number < ?1 ORDER BY number DESC");
    let mut statement = database.prepare_cached(&sql)?;
    let mut result = statement.query([before])?;
    let mut claims = Vec::new();
    for number in 1.. {
        if claims.len() >= limit {
            break;
        }
        let Some(row) = result.next()? else { break };
        let claim = record(row)?;
        if matches(&claim, query) {
            claims.push(claim);
        }
        if number == SCAN_ROWS {
            return Ok(Scan { claims, stopped_at: Some(row.get(0)?) });
        }
    }
    Ok(Scan { claims, stopped_at: None })
}

/// The place of a claim in the order of its pages; before all others if there is none of this id.
fn number(database: &Connection, id: ClaimId) -> rusqlite::Result<i64> {
    let mut statement = database.prepare_cached(sql::NUMBER)?;
    let number = statement.query_row([to_column(id.number())], |row| row.get(0)).optional()?;
    Ok(number.unwrap_or(0))
}

/// The claim whose secret has this SHA-256.
pub(super) fn by_hash(
    database: &Connection,
    hash: &[u8; 32],
) -> rusqlite::Result<Option<ClaimRecord>> {
    find(database, "hash", hash)
}

fn find(
    database: &Connection,
    column: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<Option<ClaimRecord>> {
    let sql = format!("SELECT {} FROM claims WHERE {column} = ?1", sql::COLUMNS);
    database.prepare_cached(&sql)?.query_row([value], record).optional()
}

/// Counts a registration, in its transaction.
pub(super) fn count_use(
    tx: &Connection,
    claim: &ClaimRecord,
    cost: Cost,
    (device, address): (&DeviceId, Option<IpAddr>),
    (at, returned): (u64, bool),
) -> rusqlite::Result<()> {
    let (more_used, more_returned) = cost.counted();
    let ends_at = cost.uses_up(claim).then(|| to_column(at));
    let id = to_column(claim.id.number());
    tx.prepare_cached(sql::COUNT_USE)?.execute(params![id, more_used, more_returned, ends_at])?;
    let address = address.map(|address| address.to_string());
    tx.prepare_cached(sql::ADD_USE)?.execute(params![
        id,
        device.as_str(),
        to_column(at),
        address,
        returned
    ])?;
    let kept = tx.last_insert_rowid() - i64::from(ClaimUse::MAX);
    tx.prepare_cached(sql::TRIM_USES)?.execute([kept]).map(drop)
}

fn expire(tx: &Transaction<'_>, now: u64) -> rusqlite::Result<usize> {
    let before = |kept: u64| to_column(now.saturating_sub(kept));
    let old: Vec<i64> = tx
        .prepare_cached(sql::OLD)?
        .query_map(params![before(ClaimRecord::KEPT_S), STEP], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut deleted =
        tx.prepare_cached(sql::DELETE_APPROVALS)?.execute(params![before(KEPT_S), STEP])?;
    for id in old {
        let left = STEP.saturating_sub(deleted);
        if left == 0 {
            break;
        }
        let uses = tx.prepare_cached(sql::DELETE_USES)?.execute(params![id, left])?;
        deleted += uses;
        if uses < left {
            deleted += tx.prepare_cached(sql::DELETE)?.execute([id])?;
        }
    }
    Ok(deleted)
}

fn record(row: &Row<'_>) -> rusqlite::Result<ClaimRecord> {
    let id = ClaimId::from_number(unsigned(row, 1)?);
    let devices: String = row.get(2)?;
    Ok(ClaimRecord {
        id: id.ok_or_else(|| damaged(1, "more than 48 bits"))?,
        devices: devices.parse().map_err(|error| damaged(2, error))?,
        uses: row.get(3)?,
        used: row.get(4)?,
        returns: row.get(5)?,
        returned: row.get(6)?,
        expires_at: optional_unsigned(row, 7)?,
        revoked_at: optional_unsigned(row, 8)?,
        label: row.get(9)?,
        approval: row.get(10)?,
        note: row.get(11)?,
        created_at: unsigned(row, 12)?,
        created_by: row.get(13)?,
    })
}

fn claim_use(row: &Row<'_>) -> rusqlite::Result<ClaimUse> {
    Ok(ClaimUse {
        device: device_id(row)?,
        number: unsigned(row, 1)?,
        at: unsigned(row, 2)?,
        address: address(row, 3)?,
        returned: row.get(4)?,
    })
}
