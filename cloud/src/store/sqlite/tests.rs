use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::conformance;

fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

#[tokio::test]
async fn it_conforms_to_the_trait_in_memory() {
    conformance::check(SqliteStore::in_memory().unwrap()).await;
}

#[tokio::test]
async fn it_conforms_to_the_trait_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(SqliteStore::open(folder.path().join("store")).unwrap()).await;
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    {
        let store = SqliteStore::open(&path).unwrap();
        store.add_account("marvin", "hash").await.unwrap();
        store.revoke(&device("b")).await.unwrap();
        store.seen(&device("a"), 7);
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));
    let devices = store.devices().await.unwrap();
    assert_eq!(
        devices,
        [
            DeviceRecord {
                id: device("a"),
                first_seen: Some(7),
                last_seen: Some(7),
                generation: 0
            },
            DeviceRecord { id: device("b"), first_seen: None, last_seen: None, generation: 1 },
        ]
    );
}

#[tokio::test]
async fn two_processes_share_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (server, command) = (SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap());
    command.add_account("marvin", "hash").await.unwrap();
    assert!(server.password_hash("marvin").await.unwrap().is_some());
    assert_eq!(server.revoke(&device("a")).await.unwrap(), 1);
    assert_eq!(command.revoke(&device("a")).await.unwrap(), 2);
    let revocations = server.revocations_after(1).await.unwrap();
    assert_eq!(revocations, [Revocation { device: device("a"), generation: 2, change: 2 }]);
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store")).unwrap();
    store.add_account("marvin", "hash").await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    names.sort();
    assert_eq!(names, ["store", "store-shm", "store-wal"]);
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn errors_name_the_file_and_what_was_tried() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("store");
    let error = SqliteStore::open(&missing).err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot open the store {}: ", missing.display())),
        "{error}"
    );

    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "no database at all, but long enough to be looked at").unwrap();
    let error = SqliteStore::open(&garbage).err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot open the store {}: ", garbage.display())),
        "{error}"
    );
}

#[test]
fn notes_beyond_the_bound_are_dropped_and_counted() {
    let notes = Notes::default();
    for number in 0..NOTES_KEPT + 3 {
        notes.add(&device(&format!("device-{number}")), 1);
    }
    notes.add(&device("device-0"), 2);
    assert_eq!(notes.dropped.load(Ordering::Relaxed), 3);
    assert_eq!(notes.waiting.lock().unwrap().len(), NOTES_KEPT);
    assert_eq!(notes.waiting.lock().unwrap()[&device("device-0")], 2);
}

#[test]
fn notes_that_cannot_be_written_are_dropped_and_counted() {
    let notes = Notes::default();
    notes.add(&device("a"), 1);
    let mut without_tables = Connection::open_in_memory().unwrap();
    notes.write(&mut without_tables, "in memory", Duration::ZERO);
    assert_eq!(notes.dropped.load(Ordering::Relaxed), 1);
    assert!(notes.waiting.lock().unwrap().is_empty());
}

#[tokio::test]
async fn while_another_process_holds_the_file_notes_are_kept_and_nobody_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fedecks.sqlite");
    let store = SqliteStore::open(&path).unwrap();
    store.add_account("marvin", "hash").await.unwrap();
    let mut database = Connection::open(&path).unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();

    let notes = Notes::default();
    notes.add(&device("a"), 7);
    notes.write(&mut database, "here", Duration::ZERO);
    assert_eq!(notes.dropped.load(Ordering::Relaxed), 0);
    assert_eq!(notes.waiting.lock().unwrap()[&device("a")], 7);
    // A look does not wait for who writes.
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("hash"));

    holder.execute_batch("COMMIT").unwrap();
    notes.write(&mut database, "here", Duration::ZERO);
    assert!(notes.waiting.lock().unwrap().is_empty());
    assert_eq!(store.device(&device("a")).await.unwrap().unwrap().last_seen, Some(7));
}

#[tokio::test]
async fn a_full_line_refuses_instead_of_waiting() {
    let store = SqliteStore::in_memory().unwrap();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (started, start) = oneshot::channel();
    let blocker = store.call("read", move |_| {
        started.send(()).unwrap();
        gate.recv().unwrap();
        Ok(())
    });
    start.await.unwrap();
    let waiting: Vec<_> = (0..LINE).map(|_| store.accounts()).collect();
    assert!(matches!(store.accounts().await, Err(StoreError::Busy { .. })));
    release.send(()).unwrap();
    blocker.await.unwrap();
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), []);
    }
}
