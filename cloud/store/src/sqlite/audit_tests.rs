//! Tests of the bounds of the audit log, and of its migration.

use std::time::Duration;

use rusqlite::Connection;

use super::store::{SqliteStore, StoreOptions};
use super::tests::{flushed, new_store};
use crate::accounts::AccountStore;
use crate::audit::{
    Actor, AuditAction, AuditClass, AuditEntry, AuditKept, AuditLimits, AuditQuery, AuditRecord,
    AuditStore,
};
use crate::conformance::support::{cli, device};
use crate::devices::DeviceStore;

const DAY: u64 = 86_400;

/// A store whose audit log keeps this many lines of each class, for ten days.
fn limited(lines: u32) -> (tempfile::TempDir, SqliteStore) {
    let kept = AuditKept { lines, age: Duration::from_secs(10 * DAY) };
    let audit = AuditLimits { changes: kept, logins: kept, refusals: kept, messages: kept };
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_with(dir.path().join("store"), StoreOptions { audit }).unwrap();
    (dir, store)
}

fn entry(at: u64, action: AuditAction) -> AuditEntry {
    let (by, device) = (Actor::token("ci"), Some(device("a")));
    AuditEntry { at, by, action, device, detail: None }
}

async fn page(store: &SqliteStore, query: AuditQuery) -> Vec<AuditRecord> {
    store.audit_page(&query).await.unwrap()
}

fn of(class: AuditClass) -> AuditQuery {
    AuditQuery { class: Some(class), ..AuditQuery::default() }
}

#[tokio::test]
async fn no_class_displaces_the_lines_of_another() {
    let (_dir, store) = limited(3);
    store.add_account("marvin", "hash", &cli()).await.unwrap();
    for class in AuditClass::ALL {
        let action = AuditAction::ALL.iter().rev().find(|action| action.class() == *class).unwrap();
        if *class != AuditClass::Access {
            (1..=2000).for_each(|at| store.audit_later(entry(at, *action)));
            flushed(&store).await;
            let kept = page(&store, of(*class)).await;
            let times: Vec<_> = kept.iter().map(|record| record.at).collect();
            assert_eq!(times, [2000, 1999, 1998], "{class:?}");
        }
    }
    let access = page(&store, of(AuditClass::Access)).await;
    assert_eq!(access.len(), 1);
    assert_eq!(access[0].detail.as_deref(), Some("marvin"));
    let all = page(&store, AuditQuery::default()).await;
    assert_eq!(all.len(), 1 + 5 * 3);
    assert!(all.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
}

#[tokio::test]
async fn a_smaller_bound_is_reached_in_steps() {
    let (_dir, path, store) = new_store();
    (0..3000).for_each(|at| store.audit_later(entry(at, AuditAction::MessageSent)));
    drop(store);
    let messages = AuditKept { lines: 10, ..AuditLimits::default().messages };
    let audit = AuditLimits { messages, ..AuditLimits::default() };
    let store = SqliteStore::open_with(path, StoreOptions { audit }).unwrap();
    let mut counts = Vec::new();
    for at in 3000..3008 {
        store.audit_later(entry(at, AuditAction::MessageSent));
        flushed(&store).await;
        let query = AuditQuery { before: Some(2001), ..of(AuditClass::Messages) };
        counts.push(page(&store, query).await.len());
    }
    assert_eq!(counts, [1000, 1000, 500, 0, 0, 0, 0, 0]);
    assert_eq!(page(&store, of(AuditClass::Messages)).await.len(), 10);
}

#[tokio::test]
async fn old_lines_expire_by_class_but_the_newest_stays() {
    let (_dir, store) = limited(1000);
    for at in [1, 2, 3] {
        store.audit_later(entry(at * DAY, AuditAction::MessageSent));
        store.audit_later(entry(at * DAY, AuditAction::SignedIn));
        flushed(&store).await;
    }
    assert_eq!(store.expire_audit(11 * DAY).await.unwrap(), 0);
    assert_eq!(store.expire_audit(12 * DAY).await.unwrap(), 2);
    assert_eq!(store.expire_audit(12 * DAY).await.unwrap(), 0);
    let latest = page(&store, AuditQuery::default()).await.remove(0);
    assert_eq!(store.expire_audit(1000 * DAY).await.unwrap(), 3);
    assert_eq!(page(&store, AuditQuery::default()).await, std::slice::from_ref(&latest));
    store.revoke(&device("a"), &cli()).await.unwrap();
    let newest = page(&store, AuditQuery::default()).await.remove(0);
    assert!(newest.sequence > latest.sequence, "a number is never reused");
}

#[tokio::test]
async fn lines_are_found_by_class_device_and_actor() {
    let (_dir, store) = limited(1000);
    let address = [192, 0, 2, 1].into();
    for (number, (by, id, action)) in (1..).zip([
        (Actor::cli(), "a", AuditAction::DeviceBlocked),
        (Actor::token("ci"), "a", AuditAction::MessageSent),
        (Actor::token("ci").from_address(address), "b", AuditAction::MessageSent),
        (Actor::account("marvin").from_address(address), "a", AuditAction::LoggedIn),
    ]) {
        let device = Some(device(id));
        store.audit_later(AuditEntry { at: number, by, action, device, detail: None });
    }
    flushed(&store).await;
    let none = AuditQuery::default;
    for (query, expected) in [
        (none(), vec![4, 3, 2, 1]),
        (of(AuditClass::Messages), vec![3, 2]),
        (AuditQuery { device: Some(device("a")), ..none() }, vec![4, 2, 1]),
        (AuditQuery { by: Some("token:ci".into()), ..none() }, vec![3, 2]),
        (AuditQuery { by: Some("ci".into()), ..none() }, vec![]),
        (AuditQuery { device: Some(device("a")), ..of(AuditClass::Messages) }, vec![2]),
        (AuditQuery { by: Some("cli".into()), ..of(AuditClass::Messages) }, vec![]),
        (AuditQuery { before: Some(3), ..of(AuditClass::Messages) }, vec![2]),
        (AuditQuery { limit: 1, ..of(AuditClass::Messages) }, vec![3]),
    ] {
        let found: Vec<_> = page(&store, query.clone()).await.iter().map(|one| one.at).collect();
        assert_eq!(found, expected, "{query:?}");
    }
    let addresses = page(&store, none()).await.into_iter().map(|record| record.address);
    assert_eq!(addresses.collect::<Vec<_>>(), [Some(address), Some(address), None, None]);
}

/// The audit log of a file of version 3, with what is around it.
const VERSION_3: &str = "
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY,
        password_hash TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE devices (
        id TEXT PRIMARY KEY,
        label TEXT,
        blocked_at INTEGER,
        forgotten INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        device TEXT,
        detail TEXT
    ) STRICT;
    CREATE INDEX audit_by_device ON audit (device, sequence) WHERE device IS NOT NULL;
    CREATE TABLE outbox (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        webhook TEXT NOT NULL,
        lane TEXT NOT NULL,
        event TEXT NOT NULL,
        body TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    PRAGMA application_id = 1717857139;
    PRAGMA user_version = 3;
    PRAGMA journal_mode = WAL;
    INSERT INTO audit VALUES
        (7, 10, 'cli', 'token-added', NULL, 'ci: read'),
        (8, 20, 'token:ci', 'message-sent', 'a', NULL),
        (9, 30, 'cli', 'device-blocked', 'a', NULL),
        (10, 40, 'token:ci', 'message-sent', 'b', NULL);
";

#[tokio::test]
async fn an_earlier_audit_log_is_migrated_into_its_classes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    Connection::open(&path).unwrap().execute_batch(VERSION_3).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let all = page(&store, AuditQuery::default()).await;
    let all: Vec<_> = all.iter().map(|one| (one.sequence, one.at, one.by.as_str())).collect();
    assert_eq!(all, [(10, 40, "token:ci"), (9, 30, "cli"), (8, 20, "token:ci"), (7, 10, "cli")]);
    for (class, expected) in [
        (AuditClass::Access, vec![7]),
        (AuditClass::Devices, vec![9]),
        (AuditClass::Messages, vec![10, 8]),
        (AuditClass::Logins, vec![]),
    ] {
        let found = page(&store, of(class)).await;
        let found: Vec<_> = found.iter().map(|record| record.sequence).collect();
        assert_eq!(found, expected, "{class:?}");
    }
    store.audit_later(entry(50, AuditAction::MessageSent));
    flushed(&store).await;
    assert_eq!(page(&store, of(AuditClass::Messages)).await[0].sequence, 11);
}
