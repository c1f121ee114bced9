//! Accounts in SQLite.

use rusqlite::OptionalExtension;

use super::columns::{to_column, unsigned};
use super::store::SqliteStore;
use crate::accounts::{Account, AccountStore};
use crate::audit::{Actor, AuditAction};
use crate::boxed::StoreFuture;
use crate::error::StoreError;
use crate::time::unix_now;

impl AccountStore for SqliteStore {
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> StoreFuture<'a, ()> {
        let created_at = to_column(unix_now());
        let values =
            vec![name.to_owned().into(), password_hash.to_owned().into(), created_at.into()];
        let added = self.execute_audited(
            "INSERT INTO accounts (name, password_hash, created_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO NOTHING",
            values,
            by,
            AuditAction::AccountAdded,
            Some(name),
        );
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
        self.execute_audited(
            "UPDATE accounts SET password_hash = ?2 WHERE name = ?1",
            vec![name.to_owned().into(), password_hash.to_owned().into()],
            by,
            AuditAction::AccountPasswordChanged,
            Some(name),
        )
    }

    fn remove_account<'a>(&'a self, name: &'a str, by: &'a Actor) -> StoreFuture<'a, bool> {
        let (owned, action) = (name.to_owned(), AuditAction::AccountRemoved);
        let removed = self.write_audited(by, action, None, Some(name), move |tx| {
            tx.execute("DELETE FROM known_logins WHERE account = ?1", [&owned])?;
            let rows = tx.execute("DELETE FROM accounts WHERE name = ?1", [&owned])?;
            Ok((rows > 0).then_some(()))
        });
        Box::pin(async move { Ok(removed.await?.is_some()) })
    }

    fn accounts(&self) -> StoreFuture<'_, Vec<Account>> {
        self.read(|database| {
            database
                .prepare_cached("SELECT name, created_at FROM accounts ORDER BY name")?
                .query_map([], |row| {
                    Ok(Account { name: row.get(0)?, created_at: unsigned(row, 1)? })
                })?
                .collect()
        })
    }

    fn password_hash<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<String>> {
        let name = name.to_owned();
        self.read_for_login(move |database| {
            database
                .prepare_cached("SELECT password_hash FROM accounts WHERE name = ?1")?
                .query_row([&name], |row| row.get(0))
                .optional()
        })
    }
}
