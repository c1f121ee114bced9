//! API tokens in PostgreSQL.

use tokio_postgres::Row;

use super::columns::{bytes, get, optional_unsigned, text, to_column, unsigned};
use super::failure::Failure;
use super::lanes::Lane;
use super::locks;
use super::store::{Line, PostgresStore};
use crate::api_tokens::{ApiSecret, ApiToken, ApiTokenStore, NewApiToken};
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::error::StoreError;
use crate::time::unix_now;

impl ApiTokenStore for PostgresStore {
    fn add_api_token<'a>(&'a self, token: &'a NewApiToken, by: &'a Actor) -> StoreFuture<'a, ()> {
        let line = Line::new(by, AuditAction::TokenAdded).with_detail(token.summary());
        let args = (token.clone(), line);
        let log = self.shared.log;
        self.write(Lane::Change, args, move |tx, (token, line)| {
            Box::pin(async move {
                locks::take(tx, locks::API_TOKENS).await?;
                let count = tx.query_one("SELECT count(*) FROM api_tokens", &[]).await?;
                if unsigned(&count, 0)? >= u64::from(ApiToken::MAX) {
                    let max = ApiToken::MAX;
                    return Err(Failure::Refused(StoreError::TooMany { what: "API tokens", max }));
                }
                let NewApiToken { name, secret, roles, devices, expires_at } = token;
                let now = unix_now();
                let added = tx
                    .execute(
                        "INSERT INTO api_tokens (name, hash, roles, devices, created_at, expires_at)
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING",
                        &[
                            &text(name),
                            &&ApiSecret::hash_of(secret.expose())[..],
                            &roles.to_string(),
                            &devices.as_ref().map(|pattern| pattern.as_str()),
                            &to_column(now),
                            &expires_at.map(to_column),
                        ],
                    )
                    .await?;
                if added == 0 {
                    let name = name.clone();
                    return Err(Failure::Refused(StoreError::Exists { what: "API token", name }));
                }
                log.add(tx, &[line.entry(now)]).await
            })
        })
    }

    fn api_tokens(&self) -> StoreFuture<'_, Vec<ApiToken>> {
        self.read(Lane::First, (), |tx, ()| {
            Box::pin(async move {
                let sql = "SELECT name, hash, roles, devices, created_at, expires_at, last_used
                    FROM api_tokens ORDER BY name";
                tx.query(sql, &[]).await?.iter().map(api_token).collect()
            })
        })
    }

    fn revoke_api_token<'a>(&'a self, name: &'a str, by: &'a Actor) -> StoreFuture<'a, bool> {
        let line = Line::new(by, AuditAction::TokenRevoked).with_detail(name);
        let name = text(name).into_owned();
        self.execute_audited(Lane::Change, line, name, |tx, name| {
            Box::pin(
                async move { tx.execute("DELETE FROM api_tokens WHERE name = $1", &[name]).await },
            )
        })
    }

    fn api_token_used(&self, name: &str, at: u64) {
        self.shared.notes.used(name, at);
    }
}

fn api_token(row: &Row) -> Result<ApiToken, Failure> {
    let devices: Option<&str> = get(row, 3)?;
    let devices = devices.map(str::parse).transpose();
    Ok(ApiToken {
        name: get(row, 0)?,
        hash: bytes(row, 1)?.ok_or_else(|| Failure::damaged("a token without a hash"))?,
        roles: get::<&str>(row, 2)?.parse().map_err(Failure::damaged)?,
        devices: devices.map_err(Failure::damaged)?,
        created_at: unsigned(row, 4)?,
        expires_at: optional_unsigned(row, 5)?,
        last_used: optional_unsigned(row, 6)?,
    })
}
