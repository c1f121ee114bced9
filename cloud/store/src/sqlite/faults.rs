//! Tests of a store whose file or disk fails while it is open.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use rusqlite::Connection;
use tempfile::TempDir;

use super::store::{ANSWER_GRACE, SqliteStore};
use super::tests::{flushed, new_store};
use super::worker::CALL_TIMEOUT;
use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::{AuditQuery, AuditStore};
use crate::conformance::support::{cli, device};
use crate::devices::{DeviceQuery, DeviceStore};
use crate::epoch::Epoch;
use crate::error::StoreError;
use crate::stats::StoreMonitor;

/// A store with an account and a blocked device, and a backup of it.
struct Fixture {
    folder: TempDir,
    path: PathBuf,
    copy: PathBuf,
    store: SqliteStore,
}

impl Fixture {
    async fn new() -> Self {
        let (folder, path, store) = new_store();
        let copy = path.with_file_name("copy");
        store.add_account("marvin", "hash", &cli()).await.unwrap();
        store.block(&device("blocked"), &cli()).await.unwrap();
        SqliteStore::back_up(&path, &copy).unwrap();
        Self { folder, path, copy, store }
    }

    fn restore(&self) {
        SqliteStore::restore(&self.copy, &self.path).unwrap();
    }

    /// Asserts that every kind of call fails, soon, and that notes are kept.
    async fn is_broken(&self, case: &str) {
        let started = Instant::now();
        let (a, by, store) = (device("a"), cli(), &self.store);
        let failures = [
            store.add_account("arthur", "hash", &by).await.err(),
            store.password_hash("marvin").await.err(),
            store.devices_page(&DeviceQuery::default()).await.err(),
            store.revoke(&a, &by).await.err(),
            store.access_states_after(0).await.err(),
            store.api_tokens().await.err(),
            store.audit_page(&AuditQuery::default()).await.err(),
        ];
        for failure in failures {
            let failed =
                matches!(failure, Some(StoreError::Failed { .. } | StoreError::Empty { .. }));
            assert!(failed, "{case}: {failure:?}");
        }
        assert!(started.elapsed() < CALL_TIMEOUT, "{case}: {:?}", started.elapsed());
        assert!(!store.stats().healthy, "{case}");
        store.seen(&a, 0, 7, false);
        assert_eq!(store.stats().notes_dropped, 0);
    }

    /// Asserts that everything works, and that the kept notes are written.
    async fn works(&self) {
        let store = &self.store;
        assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
        assert!(store.block(&device("another"), &cli()).await.unwrap().is_some());
        flushed(store).await;
        assert_eq!(store.device(&device("a")).await.unwrap().unwrap().last_seen, Some(7));
        assert!(store.device(&device("blocked")).await.unwrap().unwrap().blocked_at.is_some());
        assert!(store.stats().healthy);
        let database = Connection::open(&self.path).unwrap();
        let verdict: String =
            database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
    }
}

#[tokio::test]
async fn a_removed_or_replaced_file_is_left_so_and_can_be_restored() {
    let fixture = Fixture::new().await;
    let garbage = fixture.path.with_file_name("garbage");
    for (case, content) in [
        ("removed", None),
        ("text", Some(&b"not a database, and long enough"[..])),
        ("ones", Some(&[0xff; 100_000])),
        ("empty", Some(b"")),
    ] {
        if let Some(content) = content {
            fs::write(&garbage, content).unwrap();
            fs::rename(&garbage, &fixture.path).unwrap();
        } else {
            fs::remove_file(&fixture.path).unwrap();
        }
        fixture.is_broken(case).await;
        assert_eq!(fs::read(&fixture.path).ok().as_deref(), content, "{case}");
        let epoch = fixture.store.epoch();
        fixture.restore();
        fixture.works().await;
        assert_eq!(fixture.store.epoch(), epoch + 1, "{case}");
    }
}

#[tokio::test]
async fn a_replaced_file_does_not_get_the_log_of_the_old_one() {
    let fixture = Fixture::new().await;
    // In the write-ahead log of the removed file, and newer than the backup.
    for number in 0..50 {
        fixture.store.block(&device(&format!("newer-{number}")), &cli()).await.unwrap();
    }
    assert!(fs::metadata(fixture.folder.path().join("store-wal")).unwrap().len() > 0);
    fs::rename(&fixture.copy, &fixture.path).unwrap();
    fixture.store.seen(&device("a"), 0, 7, false);
    fixture.works().await;
    assert_eq!(fixture.store.device(&device("newer-1")).await.unwrap(), None);
}

#[tokio::test]
async fn an_overwritten_or_emptied_file_can_be_restored() {
    let fixture = Fixture::new().await;
    // The changes are still in the write-ahead log; a restored file has them in its pages.
    let restored = async || {
        fixture.restore();
        fixture.store.accounts().await.unwrap();
        fs::OpenOptions::new().write(true).open(&fixture.path).unwrap()
    };
    let file = restored().await;
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0x5a; usize::try_from(length).unwrap()], 0).unwrap();
    // SQLite may answer from its cache until it reads the file again.
    let check = |database: &mut Connection| database.pragma_query(None, "quick_check", |_| Ok(()));
    fixture.store.read(check).await.ok();
    fixture.is_broken("overwritten").await;
    fixture.restore();
    fixture.works().await;

    restored().await.set_len(0).unwrap();
    fixture.is_broken("emptied").await;
    assert_eq!(fs::metadata(&fixture.path).unwrap().len(), 0, "it is not a new store");
    fixture.restore();
    fixture.works().await;
}

#[tokio::test]
async fn a_hanging_disk_does_not_delay_answers_beyond_the_deadline() {
    let fixture = Fixture::new().await;
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let hanging = fixture.store.read(move |_| {
        gate.recv().unwrap();
        Ok(())
    });
    let started = Instant::now();
    let behind = fixture.store.password_hash("marvin");
    let (hanging, behind) = tokio::join!(hanging, behind);
    assert!(matches!(hanging, Err(StoreError::Busy { .. })), "{hanging:?}");
    assert!(matches!(behind, Err(StoreError::Busy { .. })), "{behind:?}");
    assert!(!fixture.store.stats().healthy);
    let took = started.elapsed();
    assert!(took >= CALL_TIMEOUT && took < CALL_TIMEOUT + 2 * ANSWER_GRACE, "{took:?}");
    release.send(()).unwrap();
    fixture.store.seen(&device("a"), 0, 7, false);
    fixture.works().await;
}

#[tokio::test]
async fn a_panicking_call_does_not_affect_others() {
    let fixture = Fixture::new().await;
    let panicked = fixture.store.read::<()>(|_| panic!("as asked for")).await;
    assert!(matches!(panicked, Err(StoreError::Failed { .. })), "{panicked:?}");
    fixture.store.seen(&device("a"), 0, 7, false);
    fixture.works().await;
}

#[tokio::test]
async fn a_full_disk_fails_writes_until_there_is_room() {
    let fixture = Fixture::new().await;
    let pages = |most: u32| {
        fixture.store.read(move |database| {
            database.pragma_update(None, "max_page_count", most)?;
            database.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0))
        })
    };
    // No larger than it is.
    pages(1).await.unwrap();
    let (by, store) = (cli(), &fixture.store);
    let mut number = 0;
    let error = loop {
        number += 1;
        let device = device(&format!("a-device-with-a-long-name-{number:0100}"));
        if let Err(error) = store.block(&device, &by).await {
            break error;
        }
    };
    assert!(error.to_string().contains("full"), "{error}");
    assert!(store.password_hash("marvin").await.unwrap().is_some(), "reading needs no room");
    store.seen(&device("a"), 0, 7, false);
    let epoch = store.epoch();
    pages(1_000_000).await.unwrap();
    fixture.works().await;
    assert_eq!(store.epoch(), epoch, "nothing was lost, so nothing is read again");
}
