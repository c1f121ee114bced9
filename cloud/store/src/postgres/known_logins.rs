//! Known logins in PostgreSQL. Writing them is in `flusher`.

use tokio_postgres::Row;

use super::columns::{get, to_column, unsigned};
use super::failure::Failure;
use super::lanes::Lane;
use super::store::PostgresStore;
use crate::boxed::StoreFuture;
use crate::known_logins::{KnownLogin, KnownLoginStore};

impl KnownLoginStore for PostgresStore {
    fn login_succeeded(&self, login: KnownLogin) {
        self.shared.notes.login_succeeded(login);
    }

    fn known_logins(&self, limit: u32) -> StoreFuture<'_, Vec<KnownLogin>> {
        let limit = i64::from(limit.min(KnownLogin::MAX));
        self.read(Lane::Read, limit, |tx, limit| {
            Box::pin(async move {
                let sql = "SELECT network, account, last_used FROM known_logins
                    ORDER BY last_used DESC, account, network LIMIT $1";
                tx.query(sql, &[limit]).await?.iter().map(known_login).collect()
            })
        })
    }

    fn expire_known_logins(&self, now: u64) -> StoreFuture<'_, ()> {
        let before = to_column(now.saturating_sub(KnownLogin::MAX_AGE));
        self.write(Lane::Later, before, |tx, before| {
            Box::pin(async move {
                let sql = "DELETE FROM known_logins WHERE last_used < $1";
                tx.execute(sql, &[before]).await.map(drop)
            })
        })
    }
}

fn known_login(row: &Row) -> Result<KnownLogin, Failure> {
    let address = get::<&str>(row, 0)?.parse().map_err(Failure::damaged)?;
    Ok(KnownLogin { address, account: get(row, 1)?, at: unsigned(row, 2)? })
}
