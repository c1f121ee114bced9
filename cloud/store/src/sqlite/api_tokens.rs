//! API tokens in SQLite.

use rusqlite::{Row, params};

use super::columns::{damaged, optional_unsigned, to_column, unsigned};
use super::store::SqliteStore;
use crate::api_tokens::{ApiSecret, ApiToken, ApiTokenStore, NewApiToken};
use crate::audit::{Actor, AuditAction, AuditEntry};
use crate::boxed::StoreFuture;
use crate::error::StoreError;
use crate::time::unix_now;

impl ApiTokenStore for SqliteStore {
    fn add_api_token<'a>(&'a self, token: &'a NewApiToken, by: &'a Actor) -> StoreFuture<'a, ()> {
        let (log, owned, by) = (self.log, token.clone(), by.clone());
        let added = self.write(move |tx| {
            let count: u32 =
                tx.query_row("SELECT count(*) FROM api_tokens", [], |row| row.get(0))?;
            if count >= ApiToken::MAX {
                return Ok(Added::TooMany);
            }
            let NewApiToken { name, secret, roles, devices, expires_at } = &owned;
            let devices = devices.as_ref().map(|pattern| pattern.as_str());
            let now = unix_now();
            let added = tx.execute(
                "INSERT INTO api_tokens (name, hash, roles, devices, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO NOTHING",
                params![
                    name,
                    ApiSecret::hash_of(secret.expose()),
                    roles.to_string(),
                    devices,
                    to_column(now),
                    expires_at.map(to_column)
                ],
            )?;
            if added == 0 {
                return Ok(Added::Exists);
            }
            let (by, action) = (by.clone(), AuditAction::TokenAdded);
            let detail = Some(owned.summary());
            log.add(tx, &AuditEntry { at: now, by, action, device: None, detail })?;
            Ok(Added::Yes)
        });
        Box::pin(async move {
            match added.await? {
                Added::Yes => Ok(()),
                Added::Exists => {
                    Err(StoreError::Exists { what: "API token", name: token.name.clone() })
                }
                Added::TooMany => {
                    Err(StoreError::TooMany { what: "API tokens", max: ApiToken::MAX })
                }
            }
        })
    }

    fn api_tokens(&self) -> StoreFuture<'_, Vec<ApiToken>> {
        self.read_first(|database| {
            database
                .prepare_cached(
                    "SELECT name, hash, roles, devices, created_at, expires_at, last_used
                     FROM api_tokens ORDER BY name",
                )?
                .query_map([], api_token)?
                .collect()
        })
    }

    fn revoke_api_token<'a>(&'a self, name: &'a str, by: &'a Actor) -> StoreFuture<'a, bool> {
        let sql = "DELETE FROM api_tokens WHERE name = ?1";
        let values = vec![name.to_owned().into()];
        self.execute_audited(sql, values, by, AuditAction::TokenRevoked, Some(name))
    }

    fn api_token_used(&self, name: &str, at: u64) {
        self.write_behind.used(name, at);
    }
}

enum Added {
    Yes,
    Exists,
    TooMany,
}

fn api_token(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let devices: Option<String> = row.get(3)?;
    let devices = devices.map(|pattern| pattern.parse()).transpose();
    Ok(ApiToken {
        name: row.get(0)?,
        hash: row.get(1)?,
        roles: row.get::<_, String>(2)?.parse().map_err(|error| damaged(2, error))?,
        devices: devices.map_err(|error| damaged(3, error))?,
        created_at: unsigned(row, 4)?,
        expires_at: optional_unsigned(row, 5)?,
        last_used: optional_unsigned(row, 6)?,
    })
}
