//! API tokens in SQLite.

use rusqlite::{Connection, Row, Transaction, params};

use super::audit::Log;
use super::{damaged, read, stored, unix_now};
use crate::api_tokens::{ApiSecret, ApiToken, NewApiToken};
use crate::audit::{Actor, AuditAction};

pub(super) enum Added {
    Yes,
    Exists,
    TooMany,
}

pub(super) fn add(
    writing: &Transaction<'_>,
    token: &NewApiToken,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<Added> {
    let count: u32 = writing.query_row("SELECT count(*) FROM api_tokens", [], |row| row.get(0))?;
    if count >= ApiToken::MOST {
        return Ok(Added::TooMany);
    }
    let NewApiToken { name, secret, roles, devices, expires_at } = token;
    let devices = devices.as_ref().map(|pattern| pattern.as_str());
    let added = writing.execute(
        "INSERT INTO api_tokens (name, hash, roles, devices, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO NOTHING",
        params![
            name,
            ApiSecret::hash_of(secret.expose()),
            roles.to_string(),
            devices,
            stored(unix_now()),
            expires_at.map(stored)
        ],
    )?;
    if added == 0 {
        return Ok(Added::Exists);
    }
    let detail = match devices {
        None => format!("{name}: {roles}"),
        Some(devices) => format!("{name}: {roles}, devices {devices}"),
    };
    log.add(writing, by, AuditAction::TokenAdded, None, Some(&detail))?;
    Ok(Added::Yes)
}

pub(super) fn revoke(
    writing: &Transaction<'_>,
    name: &str,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<bool> {
    let removed = writing.execute("DELETE FROM api_tokens WHERE name = ?1", [name])?;
    if removed > 0 {
        log.add(writing, by, AuditAction::TokenRevoked, None, Some(name))?;
    }
    Ok(removed > 0)
}

pub(super) fn all(database: &Connection) -> rusqlite::Result<Vec<ApiToken>> {
    database
        .prepare_cached(
            "SELECT name, hash, roles, devices, created_at, expires_at, last_used
             FROM api_tokens ORDER BY name",
        )?
        .query_map([], api_token)?
        .collect()
}

fn api_token(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let devices: Option<String> = row.get(3)?;
    let devices = devices.map(|pattern| pattern.parse()).transpose();
    Ok(ApiToken {
        name: row.get(0)?,
        hash: row.get(1)?,
        roles: row.get::<_, String>(2)?.parse().map_err(|error| damaged(2, error))?,
        devices: devices.map_err(|error| damaged(3, error))?,
        created_at: read(row.get(4)?),
        expires_at: row.get::<_, Option<i64>>(5)?.map(read),
        last_used: row.get::<_, Option<i64>>(6)?.map(read),
    })
}

/// Notes when a token was used last; not if it is gone.
pub(super) fn used(writing: &Transaction<'_>, name: &str, at: u64) -> rusqlite::Result<()> {
    writing
        .prepare_cached(
            "UPDATE api_tokens SET last_used = max(ifnull(last_used, 0), ?2) WHERE name = ?1",
        )?
        .execute(params![name, stored(at)])?;
    Ok(())
}
