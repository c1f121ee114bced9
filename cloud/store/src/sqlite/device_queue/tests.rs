//! Tests of the messages for devices beyond the contract: how statements find their rows, what is written, bounds,
//! older stores.

use fedecks_protocol::{DeviceId, Lane, Tag};
use rusqlite::Connection;

use super::sql;
use crate::conformance::support::device;
use crate::device_queue::{
    Acknowledgement, Cancelled, DeviceQueueStore, DownEntry, DownRoom, DownState, DownWindow,
    IdempotencyKey, NewDown, Queued,
};
use crate::devices::DeviceStore;
use crate::down_size::DownLimits;
use crate::messages::MessageStore;
use crate::sqlite::store::SqliteStore;
use crate::sqlite::tests::{BEFORE_CLAIMS, new_store};

const ALL: DownRoom = DownRoom { messages: usize::MAX, bytes: u64::MAX };

fn message(id: u64) -> NewDown {
    NewDown {
        id: Tag(id),
        lane: Lane::Normal,
        raw: true,
        body: "body".into(),
        at: 1,
        expires_at: 100,
        collapse_key: None,
    }
}

async fn queue(store: &SqliteStore, device: &DeviceId, message: NewDown) {
    let queued = store.queue_message(device, message, None, DownLimits::default()).await.unwrap();
    assert!(matches!(queued, Queued::Accepted { .. }), "{queued:?}");
}

async fn window(store: &SqliteStore, device: &DeviceId, after: u64) -> DownWindow {
    store.window(device, Lane::Normal, after, ALL, 2).await.unwrap().unwrap()
}

fn count(path: &std::path::Path, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    Connection::open(path).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_device_with_a_message_is_known_after_a_crash() {
    let (_dir, path, store) = new_store();
    let kitchen = device("kitchen");
    store.seen(&kitchen, 0, 7, false);
    queue(&store, &kitchen, message(1)).await;
    // The note is written with the message, and not only by the next flush.
    assert_eq!((count(&path, "down_messages"), count(&path, "devices")), (1, 1));
}

#[test]
fn every_statement_finds_its_rows_by_an_index() {
    let (_dir, path, store) = new_store();
    drop(store);
    let database = Connection::open(path).unwrap();
    for sql in sql::ALL {
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = explain.parameter_count();
        let lines: Vec<String> = explain
            .query_map(rusqlite::params_from_iter(vec![1; count]), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let is_bad = |line: &String| line.starts_with("SCAN") || line.contains("TEMP B-TREE");
        assert!(!lines.iter().any(is_bad), "{sql}\n{lines:?}");
    }
}

#[tokio::test]
async fn only_what_changes_something_is_written() {
    let (_dir, path, store) = new_store();
    let kitchen = device("kitchen");
    // Another connection sees this number change with each commit.
    let other = Connection::open(path).unwrap();
    let version =
        || -> i64 { other.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap() };
    let none = DownRoom { messages: 0, bytes: 0 };
    let acknowledged = |of: &DownWindow, up_to| Acknowledgement {
        stream: of.stream,
        up_to,
        tag: Tag(0),
        rejected: Vec::new(),
        resumed: false,
    };
    let empty = version();
    assert_eq!(store.window(&kitchen, Lane::Normal, 0, ALL, 2).await.unwrap(), None);
    assert!(!store.expire_messages(1000).await.unwrap().more);
    assert_eq!(store.cancel_message(&kitchen, Tag(1), 2).await.unwrap(), Cancelled::Unknown);
    assert_eq!(version(), empty);
    queue(&store, &kitchen, message(1)).await;
    queue(&store, &kitchen, message(2)).await;
    let queued = version();
    assert_ne!(queued, empty);
    store.window(&kitchen, Lane::Normal, 0, none, 200).await.unwrap().unwrap();
    assert_eq!(version(), queued);
    let sent = window(&store, &kitchen, 0).await;
    let handed_out = version();
    assert_ne!(handed_out, queued);
    window(&store, &kitchen, 0).await;
    window(&store, &kitchen, 2).await;
    store.acknowledge(&kitchen, acknowledged(&sent, 0), 3).await.unwrap();
    assert_eq!(version(), handed_out);
    // They are due but may have arrived: that is noted once.
    store.expire_messages(200).await.unwrap();
    let held = version();
    store.expire_messages(200).await.unwrap();
    assert_eq!(version(), held);
    store.acknowledge(&kitchen, acknowledged(&sent, 2), 201).await.unwrap();
    assert_ne!(version(), held);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (_dir, path, store) = new_store();
    let kitchen = device("kitchen");
    for id in 1..=3 {
        queue(&store, &kitchen, message(id)).await;
    }
    let before =
        store.window(&kitchen, Lane::Normal, 0, DownRoom { messages: 1, ..ALL }, 2).await.unwrap();
    store.cancel_message(&kitchen, Tag(2), 2).await.unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.cancel_message(&kitchen, Tag(1), 2).await.unwrap(), Cancelled::AlreadySent);
    let after = window(&store, &kitchen, 0).await;
    assert_eq!((after.stream, after.tried), (before.unwrap().stream, 1));
    let [
        DownEntry::Message(first),
        DownEntry::Void { from: 2, to: 2, .. },
        DownEntry::Message(third),
    ] = &after.entries[..]
    else {
        panic!("{after:?}")
    };
    assert_eq!((first.id, first.redelivered), (Tag(1), true));
    assert_eq!((third.id, third.redelivered, &*third.body), (Tag(3), false, &b"body"[..]));
}

#[tokio::test]
async fn numbers_without_a_message_are_bounded() {
    let (_dir, path, store) = new_store();
    let kitchen = device("kitchen");
    // Their reasons alternate, so that each is a range.
    let (mut last, pairs) = (0, 400);
    for pair in 0..pairs {
        let expiring = NewDown { expires_at: 1, ..message(2 * pair + 1) };
        queue(&store, &kitchen, expiring).await;
        store.expire_messages(1).await.unwrap();
        last = 2 * pair + 2;
        queue(&store, &kitchen, message(last)).await;
        store.cancel_message(&kitchen, Tag(last), 1).await.unwrap();
    }
    assert!(count(&path, "down_voids") <= 500, "{}", count(&path, "down_voids"));
    queue(&store, &kitchen, message(u64::MAX)).await;
    let (mut next, mut after) = (1, 0);
    loop {
        let part = window(&store, &kitchen, after).await;
        for entry in &part.entries {
            let (from, to) = match entry {
                DownEntry::Void { from, to, .. } => (*from, *to),
                DownEntry::Message(message) => (message.sequence, message.sequence),
            };
            assert_eq!(from, next, "no gap");
            next = to + 1;
        }
        after = next - 1;
        if !part.more {
            break;
        }
    }
    assert_eq!(after, last + 1);
    let sent = window(&store, &kitchen, last).await;
    let acknowledgement = Acknowledgement {
        stream: sent.stream,
        up_to: after,
        tag: Tag(u64::MAX),
        rejected: vec![after],
        resumed: false,
    };
    store.acknowledge(&kitchen, acknowledgement, 2).await.unwrap();
    assert_eq!(count(&path, "down_voids"), 0);
    let status = store.message_status(&kitchen, Tag(u64::MAX)).await.unwrap().unwrap();
    assert_eq!(status.state, DownState::Rejected);
}

#[tokio::test]
async fn idempotency_keys_are_bounded_and_nothing_is_left() {
    let (_dir, path, store) = new_store();
    let kitchen = device("kitchen");
    let request = async |number: u64| {
        let (caller, key) = ("crm".to_owned(), number.to_string());
        let key = IdempotencyKey { caller, key, digest: [0; 32] };
        let message = NewDown { at: number, expires_at: number, ..message(number) };
        store.queue_message(&kitchen, message, Some(key), DownLimits::default()).await.unwrap()
    };
    let last = IdempotencyKey::MAX_PER_DEVICE + 5;
    for number in 1..=last {
        assert!(matches!(request(number).await, Queued::Accepted { .. }));
        store.expire_messages(number).await.unwrap();
    }
    assert_eq!(count(&path, "down_keys"), 1000);
    assert_eq!(request(6).await, Queued::Repeated(Tag(6)));
    while store.expire_messages(u64::MAX).await.unwrap().more {}
    for table in ["down_keys", "down_messages", "down_devices"] {
        assert_eq!(count(&path, table), 0, "{table}");
    }
    let bytes: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT bytes FROM down_size", [], |row| row.get(0))
        .unwrap();
    assert_eq!(bytes, 0);
}

#[tokio::test]
async fn a_number_that_a_damaged_store_lost_is_passed() {
    let (_dir, path, store) = new_store();
    let kitchen = device("kitchen");
    for id in 1..=3 {
        queue(&store, &kitchen, message(id)).await;
    }
    let other = Connection::open(path).unwrap();
    other.execute("DELETE FROM down_messages WHERE sequence = 2", []).unwrap();
    let window = window(&store, &kitchen, 0).await;
    let passed = &window.entries[1];
    assert!(
        matches!(passed, DownEntry::Void { from: 2, to: 2, reason } if reason.as_str() == "damaged"),
        "{passed:?}"
    );
    assert_eq!(window.entries.len(), 3);
}

#[tokio::test]
async fn a_store_of_version_6_keeps_its_installation() {
    let (_dir, path, store) = new_store();
    let id = store.installation().await.unwrap();
    drop(store);
    // As that version left it.
    let database = Connection::open(&path).unwrap();
    let tables = ["devices", "size", "streams", "voids", "messages", "keys"];
    for table in tables {
        database.execute_batch(&format!("DROP TABLE down_{table}")).unwrap();
    }
    database.execute_batch("DROP TABLE message_consumers").unwrap();
    database.execute_batch(BEFORE_CLAIMS).unwrap();
    database.pragma_update(None, "user_version", 6).unwrap();
    drop(database);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.installation().await.unwrap(), id);
    queue(&store, &device("kitchen"), message(1)).await;
    assert_eq!(window(&store, &device("kitchen"), 0).await.newest, 1);
}
