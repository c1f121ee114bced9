//! API tokens in SQLite.

use rusqlite::{Row, params};

use super::columns::{damaged, read, stored};
use super::store::SqliteStore;
use crate::api_tokens::{ApiSecret, ApiToken, ApiTokenStore, NewApiToken};
use crate::audit::{Actor, AuditAction};
use crate::boxed::BoxFuture;
use crate::error::StoreError;
use crate::time::unix_now;

impl ApiTokenStore for SqliteStore {
    fn add_api_token<'a>(
        &'a self,
        token: &'a NewApiToken,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (log, owned, by) = (self.log, token.clone(), by.clone());
        let added = self.write(move |writing| {
            let count: u32 =
                writing.query_row("SELECT count(*) FROM api_tokens", [], |row| row.get(0))?;
            if count >= ApiToken::MOST {
                return Ok(Added::TooMany);
            }
            let NewApiToken { name, secret, roles, devices, expires_at } = &owned;
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
            log.add(writing, &by, AuditAction::TokenAdded, None, Some(&detail))?;
            Ok(Added::Yes)
        });
        Box::pin(async move {
            match added.await? {
                Added::Yes => Ok(()),
                Added::Exists => {
                    Err(StoreError::Exists { what: "API token", name: token.name.clone() })
                }
                Added::TooMany => {
                    Err(StoreError::TooMany { what: "the API tokens", most: ApiToken::MOST })
                }
            }
        })
    }

    fn api_tokens(&self) -> BoxFuture<'_, Result<Vec<ApiToken>, StoreError>> {
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

    fn revoke_api_token<'a>(
        &'a self,
        name: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (log, name, by) = (self.log, name.to_owned(), by.clone());
        self.write(move |writing| {
            let removed = writing.execute("DELETE FROM api_tokens WHERE name = ?1", [&name])?;
            if removed > 0 {
                log.add(writing, &by, AuditAction::TokenRevoked, None, Some(&name))?;
            }
            Ok(removed > 0)
        })
    }

    fn api_token_used(&self, name: &str, at: u64) {
        self.notes.used(name, at);
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
        created_at: read(row.get(4)?),
        expires_at: row.get::<_, Option<i64>>(5)?.map(read),
        last_used: row.get::<_, Option<i64>>(6)?.map(read),
    })
}
