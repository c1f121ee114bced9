//! Accounts in SQLite.

use rusqlite::{OptionalExtension, params};

use super::columns::{read, stored};
use super::store::SqliteStore;
use crate::accounts::{Account, AccountStore};
use crate::audit::{Actor, AuditAction};
use crate::boxed::BoxFuture;
use crate::error::StoreError;
use crate::time::unix_now;

impl AccountStore for SqliteStore {
    fn add_account<'a>(
        &'a self,
        name: &'a str,
        password_hash: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (log, owned, hash, by) =
            (self.log, name.to_owned(), password_hash.to_owned(), by.clone());
        let added = self.write(move |writing| {
            let added = writing.execute(
                "INSERT INTO accounts (name, password_hash, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO NOTHING",
                params![owned, hash, stored(unix_now())],
            )?;
            if added > 0 {
                log.add(writing, &by, AuditAction::AccountAdded, None, Some(&owned))?;
            }
            Ok(added > 0)
        });
        Box::pin(async move {
            let exists = || StoreError::Exists { what: "account", name: name.to_owned() };
            if added.await? { Ok(()) } else { Err(exists()) }
        })
    }

    fn remove_account<'a>(
        &'a self,
        name: &'a str,
        by: &'a Actor,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (log, name, by) = (self.log, name.to_owned(), by.clone());
        self.write(move |writing| {
            let removed = writing.execute("DELETE FROM accounts WHERE name = ?1", [&name])?;
            if removed > 0 {
                log.add(writing, &by, AuditAction::AccountRemoved, None, Some(&name))?;
            }
            Ok(removed > 0)
        })
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<Account>, StoreError>> {
        self.read(|database| {
            database
                .prepare_cached("SELECT name, created_at FROM accounts ORDER BY name")?
                .query_map([], |row| {
                    Ok(Account { name: row.get(0)?, created_at: read(row.get(1)?) })
                })?
                .collect()
        })
    }

    fn password_hash<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let name = name.to_owned();
        self.read_first(move |database| {
            database
                .prepare_cached("SELECT password_hash FROM accounts WHERE name = ?1")?
                .query_row([&name], |row| row.get(0))
                .optional()
        })
    }
}
