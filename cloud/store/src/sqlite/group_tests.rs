//! Tests of calls that share a transaction.

use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::store::SqliteStore;
use super::tests::new_store;
use crate::boxed::StoreFuture;

fn add(database: &Connection, id: &str) -> rusqlite::Result<usize> {
    database.execute("INSERT INTO devices (id, first_seen, last_seen) VALUES (?1, 1, 1)", [id])
}

/// How many devices another program finds.
fn stored(path: &PathBuf) -> i64 {
    let database = Connection::open(path).unwrap();
    database.query_row("SELECT count(*) FROM devices", [], |row| row.get(0)).unwrap()
}

/// Keeps the thread busy until all these calls wait.
async fn together<T>(
    store: &SqliteStore,
    calls: Vec<StoreFuture<'_, T>>,
) -> Vec<Result<T, crate::StoreError>> {
    let (release, gate) = channel();
    let held = store.read_first(move |_| {
        gate.recv().unwrap();
        Ok(())
    });
    let last = async move { release.send(()).unwrap() };
    let (held, answers, ()) = tokio::join!(held, futures_util::future::join_all(calls), last);
    held.unwrap();
    answers
}

#[tokio::test]
async fn calls_that_wait_share_a_transaction() {
    let (_folder, path, store) = new_store();
    let change = |id: &'static str| {
        let path = path.clone();
        store.write_shared(move |database| add(database, id).map(|_| stored(&path)))
    };
    let answers = together(&store, vec![change("a"), change("b"), change("c")]).await;
    let seen: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(seen, [0, 0, 0], "nothing is stored before the last one is done");
    assert_eq!(stored(&path), 3);
    // One that is alone is stored as well.
    change("d").await.unwrap();
    assert_eq!(stored(&path), 4);
}

#[tokio::test]
async fn a_call_that_fails_fails_alone() {
    let (_folder, path, store) = new_store();
    let runs = Arc::new(Mutex::new(Vec::new()));
    let change = |id: &'static str| -> StoreFuture<'_, usize> {
        let runs = runs.clone();
        store.write_shared(move |database| {
            runs.lock().unwrap().push(id);
            match id {
                "panics" => panic!("as the test wants it"),
                "fails" => add(database, "b").and_then(|_| add(database, "b")),
                "rolls back" => database.execute_batch("ROLLBACK").map(|()| 0),
                _ => add(database, id),
            }
        })
    };
    let bad = ["fails", "panics", "rolls back"];
    for (round, id) in bad.into_iter().enumerate() {
        let before = ["a0", "a1", "a2"][round];
        let after = ["c0", "c1", "c2"][round];
        let answers = together(&store, vec![change(before), change(id), change(after)]).await;
        assert!(answers[0].is_ok() && answers[2].is_ok(), "{id}: {answers:?}");
        assert!(answers[1].is_err(), "{id}");
        assert_eq!(stored(&path), 2 * (round as i64 + 1), "{id}");
        let runs = std::mem::take(&mut *runs.lock().unwrap());
        assert_eq!(runs, [before, id, before, id, after], "{id}");
    }
}

#[tokio::test]
async fn a_login_waits_for_no_more_than_has_begun() {
    let (_folder, path, store) = new_store();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (release, gate) = channel();
    let (begun, begin) = tokio::sync::oneshot::channel();
    let (mut begun, gate) = (Some(begun), Mutex::new(gate));
    let note = |what: &'static str| {
        let order = order.clone();
        store.write_shared(move |_| {
            order.lock().unwrap().push(what);
            Ok(())
        })
    };
    let (first, second, third) = (order.clone(), note("second"), note("third"));
    let first = store.write_shared(move |_| {
        if let Some(begun) = begun.take() {
            begun.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        first.lock().unwrap().push("first");
        Ok(())
    });
    let login = async {
        begin.await.unwrap();
        let order = order.clone();
        let login = store.read_for_login(move |_| {
            order.lock().unwrap().push("login");
            Ok(())
        });
        let released = async { release.send(()).unwrap() };
        tokio::join!(login, released).0
    };
    let (shared, login) = tokio::join!(together(&store, vec![first, second, third]), login);
    shared.into_iter().for_each(Result::unwrap);
    login.unwrap();
    assert_eq!(*order.lock().unwrap(), ["first", "second", "login", "third"]);
    drop(path);
}
