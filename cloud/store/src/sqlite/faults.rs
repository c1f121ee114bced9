//! What happens to a store whose file or disk fails while it is open.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use rusqlite::Connection;
use tempfile::TempDir;

use super::store::{ANSWER_PATIENCE, SqliteStore};
use super::tests::{cli, device, until};
use super::worker::PATIENCE;
use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::{AuditQuery, AuditStore};
use crate::devices::{DeviceQuery, DeviceStore};
use crate::epoch::Epoch;
use crate::error::StoreError;
use crate::stats::StoreMonitor;

/// A store with an account, a blocked device and a copy of all that.
struct Bed {
    folder: TempDir,
    path: PathBuf,
    copy: PathBuf,
    store: SqliteStore,
}

impl Bed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
        let store = SqliteStore::open(&path).unwrap();
        store.add_account("marvin", "hash", &cli()).await.unwrap();
        store.block(&device("blocked"), &cli()).await.unwrap();
        SqliteStore::back_up(&path, &copy).unwrap();
        Self { folder, path, copy, store }
    }

    /// Every kind of call fails, soon, and notes wait.
    async fn is_broken(&self) {
        let started = Instant::now();
        let (a, by, store) = (device("a"), cli(), &self.store);
        let page = DeviceQuery::default();
        let audit = AuditQuery::default();
        let failures = [
            store.add_account("arthur", "hash", &by).await.err(),
            store.password_hash("marvin").await.err(),
            store.devices_page(&page).await.err(),
            store.revoke(&a, &by).await.err(),
            store.standings_after(0).await.err(),
            store.api_tokens().await.err(),
            store.audit_page(&audit).await.err(),
        ];
        for failure in failures {
            assert!(matches!(failure, Some(StoreError::Failed { .. })), "{failure:?}");
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        assert!(!store.stats().healthy);
        store.seen(&a, 0, 7);
        assert_eq!(store.stats().notes_dropped, 0);
    }

    /// Everything works, and what was noted meanwhile is written.
    async fn works(&self) {
        let store = &self.store;
        assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
        assert!(store.block(&device("another"), &cli()).await.unwrap().is_some());
        until(|| store.stats().waiting == 0).await;
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
async fn a_file_that_is_removed_is_not_made_anew_and_comes_back_with_a_copy() {
    let bed = Bed::new().await;
    fs::remove_file(&bed.path).unwrap();
    bed.is_broken().await;
    assert!(!bed.path.exists());
    let epoch = bed.store.epoch();
    SqliteStore::restore(&bed.copy, &bed.path).unwrap();
    bed.works().await;
    assert_eq!(bed.store.epoch(), epoch + 1);
}

#[tokio::test]
async fn a_copy_moved_into_the_place_of_a_removed_file_is_not_mixed_with_the_removed_ones_log() {
    let bed = Bed::new().await;
    // What stands in the log of the removed file, and is newer than the copy.
    for number in 0..50 {
        bed.store.block(&device(&format!("newer-{number}")), &cli()).await.unwrap();
    }
    assert!(fs::metadata(bed.folder.path().join("store-wal")).unwrap().len() > 0);
    fs::rename(&bed.copy, &bed.path).unwrap();
    bed.store.seen(&device("a"), 0, 7);
    bed.works().await;
    assert_eq!(bed.store.device(&device("newer-1")).await.unwrap(), None);
}

#[tokio::test]
async fn a_file_that_is_replaced_by_garbage_comes_back_with_a_copy() {
    let bed = Bed::new().await;
    let garbage = bed.folder.path().join("garbage");
    for content in [&b"no database, whatever it is called"[..], &[0xff; 100_000], b""] {
        fs::write(&garbage, content).unwrap();
        fs::rename(&garbage, &bed.path).unwrap();
        bed.is_broken().await;
    }
    SqliteStore::restore(&bed.copy, &bed.path).unwrap();
    bed.works().await;
}

#[tokio::test]
async fn a_file_whose_bytes_are_overwritten_comes_back_with_a_copy() {
    let bed = Bed::new().await;
    // What was written stands in the log until that is full; a new file has it in its pages.
    SqliteStore::restore(&bed.copy, &bed.path).unwrap();
    bed.store.accounts().await.unwrap();
    let file = fs::OpenOptions::new().write(true).open(&bed.path).unwrap();
    let length = fs::metadata(&bed.path).unwrap().len();
    file.write_all_at(&vec![0x5a; usize::try_from(length).unwrap()], 0).unwrap();
    // What SQLite remembers of the file may be answered until it looks into it again.
    bed.store.read(|database| database.pragma_query(None, "quick_check", |_| Ok(()))).await.ok();
    bed.is_broken().await;
    SqliteStore::restore(&bed.copy, &bed.path).unwrap();
    bed.works().await;
}

#[tokio::test]
async fn a_file_that_is_emptied_is_no_new_store() {
    let bed = Bed::new().await;
    SqliteStore::restore(&bed.copy, &bed.path).unwrap();
    bed.store.accounts().await.unwrap();
    fs::OpenOptions::new().write(true).open(&bed.path).unwrap().set_len(0).unwrap();
    bed.is_broken().await;
    assert_eq!(fs::metadata(&bed.path).unwrap().len(), 0);
    SqliteStore::restore(&bed.copy, &bed.path).unwrap();
    bed.works().await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_waited_for_no_longer_than_the_deadline() {
    let bed = Bed::new().await;
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let hanging = bed.store.read(move |_| {
        gate.recv().unwrap();
        Ok(())
    });
    let started = Instant::now();
    let behind = bed.store.password_hash("marvin");
    let (hanging, behind) = tokio::join!(hanging, behind);
    assert!(matches!(hanging, Err(StoreError::Busy { .. })), "{hanging:?}");
    assert!(matches!(behind, Err(StoreError::Busy { .. })), "{behind:?}");
    assert!(!bed.store.stats().healthy);
    let took = started.elapsed();
    assert!(took >= PATIENCE && took < PATIENCE + 2 * ANSWER_PATIENCE, "{took:?}");
    release.send(()).unwrap();
    bed.store.seen(&device("a"), 0, 7);
    bed.works().await;
}

#[tokio::test]
async fn a_call_that_panics_takes_nobody_with_it() {
    let bed = Bed::new().await;
    let panicked = bed.store.read::<()>(|_| panic!("as asked for")).await;
    assert!(matches!(panicked, Err(StoreError::Failed { .. })), "{panicked:?}");
    bed.store.seen(&device("a"), 0, 7);
    bed.works().await;
}

#[tokio::test]
async fn a_store_that_grows_beyond_its_disk_fails_and_goes_on_when_there_is_room() {
    let bed = Bed::new().await;
    let pages = |most: u32| {
        bed.store.read(move |database| {
            database.pragma_update(None, "max_page_count", most)?;
            database.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0))
        })
    };
    // As small as it is.
    pages(1).await.unwrap();
    let (by, store) = (cli(), &bed.store);
    let full = async {
        for number in 0.. {
            let device = device(&format!("a-device-with-a-long-name-{number:0100}"));
            if let Err(error) = store.block(&device, &by).await {
                return error;
            }
        }
        unreachable!()
    };
    let error = full.await;
    assert!(error.to_string().contains("full"), "{error}");
    assert!(store.password_hash("marvin").await.unwrap().is_some(), "looking needs no room");
    store.seen(&device("a"), 0, 7);
    let epoch = store.epoch();
    pages(1_000_000).await.unwrap();
    bed.works().await;
    assert_eq!(store.epoch(), epoch, "nothing was lost, so nothing is read anew");
}
