//! Accounts in SQLite.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::audit::Log;
use super::{read, stored, unix_now};
use crate::accounts::Account;
use crate::audit::{Actor, AuditAction};

/// Whether it was added; not if there is one of that name.
pub(super) fn add(
    writing: &Transaction<'_>,
    name: &str,
    hash: &str,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<bool> {
    let added = writing.execute(
        "INSERT INTO accounts (name, password_hash, created_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO NOTHING",
        params![name, hash, stored(unix_now())],
    )?;
    if added > 0 {
        log.add(writing, by, AuditAction::AccountAdded, None, Some(name))?;
    }
    Ok(added > 0)
}

pub(super) fn remove(
    writing: &Transaction<'_>,
    name: &str,
    by: &Actor,
    log: Log,
) -> rusqlite::Result<bool> {
    let removed = writing.execute("DELETE FROM accounts WHERE name = ?1", [name])?;
    if removed > 0 {
        log.add(writing, by, AuditAction::AccountRemoved, None, Some(name))?;
    }
    Ok(removed > 0)
}

pub(super) fn all(database: &Connection) -> rusqlite::Result<Vec<Account>> {
    database
        .prepare_cached("SELECT name, created_at FROM accounts ORDER BY name")?
        .query_map([], |row| Ok(Account { name: row.get(0)?, created_at: read(row.get(1)?) }))?
        .collect()
}

pub(super) fn password_hash(database: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    database
        .prepare_cached("SELECT password_hash FROM accounts WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}
