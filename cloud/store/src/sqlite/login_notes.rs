//! Writes known logins. Reading them is in `known_logins`.

use std::net::IpAddr;

use rusqlite::{Transaction, params};

use super::columns::to_column;
use crate::known_logins::KnownLogin;

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
