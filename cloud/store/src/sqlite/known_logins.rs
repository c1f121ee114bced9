//! Known logins in SQLite.

use std::net::IpAddr;

use rusqlite::{Row, Transaction, params};

use super::columns::{damaged, to_column, unsigned};
use super::store::SqliteStore;
use crate::boxed::StoreFuture;
use crate::known_logins::{KnownLogin, KnownLoginStore};

impl KnownLoginStore for SqliteStore {
    fn login_succeeded(&self, login: KnownLogin) {
        self.write_behind.login_succeeded(login);
    }

    fn known_logins(&self, limit: u32) -> StoreFuture<'_, Vec<KnownLogin>> {
        let limit = limit.min(KnownLogin::MAX);
        self.read(move |database| {
            database
                .prepare_cached(
                    "SELECT network, account, last_used FROM known_logins
                     ORDER BY last_used DESC, account, network LIMIT ?1",
                )?
                .query_map([limit], known_login)?
                .collect()
        })
    }

    fn expire_known_logins(&self, now: u64) -> StoreFuture<'_, ()> {
        let before = to_column(now.saturating_sub(KnownLogin::MAX_AGE));
        self.write(move |tx| {
            let mut expire = tx.prepare_cached("DELETE FROM known_logins WHERE last_used < ?1")?;
            expire.execute([before]).map(|_| ())
        })
    }
}

fn known_login(row: &Row<'_>) -> rusqlite::Result<KnownLogin> {
    let address = row.get::<_, String>(0)?.parse().map_err(|error| damaged(0, error))?;
    Ok(KnownLogin { address, account: row.get(1)?, at: unsigned(row, 2)? })
}

/// Notes that an account was used from a network, if the account still exists.
pub(super) fn write(
    tx: &Transaction<'_>,
    account: &str,
    network: IpAddr,
    at: u64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO known_logins (account, network, last_used)
         SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM accounts WHERE name = ?1)
         ON CONFLICT (account, network) DO UPDATE
         SET last_used = max(last_used, excluded.last_used)",
    )?
    .execute(params![account, network.to_string(), to_column(at)])?;
    Ok(())
}

/// Drops pairs above the maximum: the least recent ones of the account that has the most.
pub(super) fn bound(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    loop {
        let count: i64 = tx
            .prepare_cached("SELECT count(*) FROM known_logins")?
            .query_row([], |row| row.get(0))?;
        let above = count - i64::from(KnownLogin::MAX);
        if above <= 0 {
            return Ok(());
        }
        tx.execute(
            "DELETE FROM known_logins WHERE (account, network) IN (
                 SELECT account, network FROM known_logins
                 WHERE account = (SELECT account FROM known_logins GROUP BY account
                                  ORDER BY count(*) DESC LIMIT 1)
                 ORDER BY last_used LIMIT ?1)",
            [above],
        )?;
    }
}
