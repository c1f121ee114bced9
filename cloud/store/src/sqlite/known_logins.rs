//! Known logins in SQLite. Writing them is in `login_notes`.

use rusqlite::Row;

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
