//! Accounts in PostgreSQL.

use super::columns::{get, text, to_column, unsigned};
use super::lanes::Lane;
use super::store::{Line, PostgresStore};
use crate::accounts::{Account, AccountStore};
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::error::StoreError;
use crate::time::unix_now;

impl AccountStore for PostgresStore {
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> StoreFuture<'a, ()> {
        let line = Line::new(by, AuditAction::AccountAdded).with_detail(name);
        let args = (text(name).into_owned(), password_hash.to_owned());
        let added = self.execute_audited(Lane::Change, line, args, |tx, (name, hash)| {
            Box::pin(async move {
                let sql = "INSERT INTO accounts (name, password_hash, created_at)
                    VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
                tx.execute(sql, &[name, hash, &to_column(unix_now())]).await
            })
        });
        Box::pin(async move {
            let exists = || StoreError::Exists { what: "account", name: name.to_owned() };
            if added.await? { Ok(()) } else { Err(exists()) }
        })
    }

    fn set_password_hash<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> StoreFuture<'a, bool> {
        let line = Line::new(by, AuditAction::AccountPasswordChanged).with_detail(name);
        let args = (text(name).into_owned(), password_hash.to_owned());
        self.execute_audited(Lane::Change, line, args, |tx, (name, hash)| {
            let sql = "UPDATE accounts SET password_hash = $2 WHERE name = $1";
            Box::pin(async move { tx.execute(sql, &[name, hash]).await })
        })
    }

    fn remove_account<'a>(&'a self, name: &'a str, by: &'a Actor) -> StoreFuture<'a, bool> {
        let line = Line::new(by, AuditAction::AccountRemoved).with_detail(name);
        let name = text(name).into_owned();
        self.execute_audited(Lane::Change, line, name, |tx, name| {
            Box::pin(async move {
                // First the account: who notes a login locks it, see `flusher`.
                let rows = tx.execute("DELETE FROM accounts WHERE name = $1", &[name]).await?;
                tx.execute("DELETE FROM known_logins WHERE account = $1", &[name]).await?;
                Ok(rows)
            })
        })
    }

    fn accounts(&self) -> StoreFuture<'_, Vec<Account>> {
        self.read(Lane::Read, (), |tx, ()| {
            Box::pin(async move {
                let rows = tx.query("SELECT name, created_at FROM accounts ORDER BY name", &[]);
                let account =
                    |row| Ok(Account { name: get(row, 0)?, created_at: unsigned(row, 1)? });
                rows.await?.iter().map(account).collect()
            })
        })
    }

    fn password_hash<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<String>> {
        // Strangers choose it.
        if name.contains('\0') {
            return Box::pin(async { Ok(None) });
        }
        self.read(Lane::Login, name.to_owned(), |tx, name| {
            Box::pin(async move {
                let sql = "SELECT password_hash FROM accounts WHERE name = $1";
                tx.query_opt(sql, &[name]).await?.map(|row| get(&row, 0)).transpose()
            })
        })
    }
}
