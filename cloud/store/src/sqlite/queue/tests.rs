//! Tests of the queues beyond the contract: how statements find their rows, bounds of the sum, older stores.

use std::time::Duration;

use rusqlite::Connection;

use super::STEP_BYTES;
use super::sql;
use crate::dead_letters::DeadLetter;
use crate::queue::{QueueBudget, QueueStatus, QueueStore, ReservedItem, Room, Settlement};
use crate::queue_item::QueueItem;
use crate::sqlite::store::SqliteStore;
use crate::sqlite::tests::new_store;

const AMPLE: QueueBudget = QueueBudget { items: u64::MAX, bytes: u64::MAX };
const ALL: Room = Room { items: usize::MAX, bytes: u64::MAX, bigger: false };
const NOW: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(9);

fn item(lane: &str, id: &str, bytes: usize) -> QueueItem {
    QueueItem { lane: lane.into(), id: id.into(), body: "x".repeat(bytes).into(), at: 7 }
}

#[test]
fn every_statement_finds_its_rows_by_an_index() {
    let (_dir, path, store) = new_store();
    drop(store);
    let database = Connection::open(path).unwrap();
    let plan = |sql: &str| {
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = explain.parameter_count();
        let mut rows = explain.query(rusqlite::params_from_iter(vec![1; count])).unwrap();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            lines.push(row.get::<_, String>(3).unwrap());
        }
        lines
    };
    let is_bad = |line: &String| line.starts_with("SCAN") || line.contains("TEMP B-TREE");
    for sql in sql::ALL {
        let lines = plan(sql);
        assert!(!lines.iter().any(is_bad), "{sql}\n{lines:?}");
    }
    assert!(plan("SELECT 1 FROM queue_items WHERE id = 'x'").iter().any(is_bad));
}

/// A store of version 4, as the last version without queues made it, with what waited for two webhooks.
const VERSION_4: &str = include_str!("version_4.sql");

#[tokio::test]
async fn the_outbox_of_version_4_is_taken_over_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    Connection::open(&path).unwrap().execute_batch(VERSION_4).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let mut delivered = Vec::new();
    let mut status = store.queue_status("webhook crm").await.unwrap();
    assert_eq!((status.items, status.time), (6, Duration::ZERO));
    loop {
        let reserved = store.reserve("webhook crm", ALL, NOW, LATER).await.unwrap().items;
        if reserved.is_empty() {
            break;
        }
        for ReservedItem { reservation, item, since, attempts, .. } in reserved {
            let bytes = item.stored_bytes();
            delivered.push((item.lane, item.id, item.at, item.body.len()));
            assert_eq!((since, attempts), (Duration::ZERO, 0));
            let done = vec![(reservation, Settlement::Complete)];
            let now = store.settle("webhook crm", done, NOW).await.unwrap().status;
            assert_eq!(now.bytes, status.bytes - bytes, "{delivered:?}");
            status = now;
        }
    }
    assert_eq!(status, QueueStatus { time: NOW, items: 0, bytes: 0, dropped: 0 });
    let expected = [
        ("kitchen-1", "5c1f0d9be0a2c5aa-1", 1_769_860_800, 95),
        ("", "5c1f0d9be0a2c5aa-4", 1_769_860_803, 97),
        ("hall-1", "5c1f0d9be0a2c5aa-9", 1_769_860_810, 5000),
        ("kitchen-1", "5c1f0d9be0a2c5aa-2", 1_769_860_801, 102),
        ("hall-1", "5c1f0d9be0a2c5aa-10", 1_769_860_811, 3),
        ("kitchen-1", "5c1f0d9be0a2c5aa-12", 1_769_860_812, 6),
    ];
    let expected = expected.map(|(lane, id, at, bytes)| (lane.into(), id.into(), at, bytes));
    assert_eq!(delivered, expected);
    let other = store.reserve("webhook other", ALL, NOW, LATER).await.unwrap().items;
    assert_eq!(&*other[0].item.body, "{\"name\":\"\u{20ac} \u{1f600}\"}".as_bytes());
    assert_eq!((other.len(), other[0].item.id.as_str()), (1, "5c1f0d9be0a2c5aa-3"));
    // What is added next comes after what was taken over.
    store.enqueue("webhook other", vec![item("x", "new", 1)], 0, AMPLE, NOW).await.unwrap();
    assert_eq!(store.queue_status("webhook other").await.unwrap().items, 2);
}

#[tokio::test]
async fn dead_letters_of_a_queue_are_bounded_in_bytes() {
    let store = SqliteStore::in_memory().unwrap();
    let mut dropped = 0;
    // Two of 4 MB fit into a lane, and fifteen into the queue.
    for (number, lane) in
        ["a"; 3].into_iter().chain(["b", "c", "d", "e", "f", "g", "h"]).enumerate()
    {
        for part in ["first", "second"] {
            let id = format!("{number} {part}");
            store.enqueue("q", vec![item(lane, &id, 4_100_000)], 0, AMPLE, NOW).await.unwrap();
            let reserved = store.reserve("q", ALL, NOW, LATER).await.unwrap().items;
            let park = Settlement::Park { reason: "no".into(), at: 1 };
            let settled = store.settle("q", vec![(reserved[0].reservation, park)], NOW).await;
            dropped += settled.unwrap().dead_letters_dropped;
        }
    }
    let (mut letters, mut after) = (Vec::new(), 0);
    loop {
        let page = store.dead_letters("q", after, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(
            page.iter().map(|letter| letter.item.stored_bytes()).sum::<u64>() <= 2 * STEP_BYTES
        );
        after = last.number;
        letters.extend(page.into_iter().map(|letter| letter.item));
    }
    let bytes: u64 = letters.iter().map(QueueItem::stored_bytes).sum();
    assert!(bytes <= DeadLetter::MAX_BYTES, "{bytes}");
    assert_eq!((letters.len(), dropped), (16, 4));
    assert_eq!(letters[0].id, "2 first");
    // One that is bigger than the bound of its lane is kept alone.
    store.enqueue("q", vec![item("h", "big", 9_000_000)], 0, AMPLE, NOW).await.unwrap();
    let reserved = store.reserve("q", ALL, NOW, LATER).await.unwrap().items;
    let park = Settlement::Park { reason: "no".into(), at: 1 };
    store.settle("q", vec![(reserved[0].reservation, park)], NOW).await.unwrap();
    let of_lane: Vec<_> = store.dead_letters("q", after, 9).await.unwrap();
    assert_eq!((of_lane.len(), of_lane[0].item.id.as_str()), (1, "big"));
}

#[tokio::test]
async fn a_reservation_survives_the_end_of_the_process() {
    let (_dir, path, store) = new_store();
    store.enqueue("q", vec![item("a", "a1", 1)], 0, AMPLE, NOW).await.unwrap();
    let reserved = store.reserve("q", ALL, NOW, LATER).await.unwrap().items;
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.reserve("q", ALL, NOW, LATER).await.unwrap().items, []);
    let done = vec![(reserved[0].reservation, Settlement::Complete)];
    assert_eq!(store.settle("q", done, NOW).await.unwrap().status.items, 0);
}

#[tokio::test]
async fn a_change_after_a_reservation_is_synced_again() {
    let (_dir, _path, store) = new_store();
    let synchronous = || {
        store.read(|database| {
            database.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
        })
    };
    store.enqueue("q", vec![item("a", "a1", 1)], 0, AMPLE, NOW).await.unwrap();
    store.reserve("q", ALL, NOW, LATER).await.unwrap();
    assert_eq!(synchronous().await.unwrap(), 2, "FULL");
    // One that fails, too.
    let failed = store.write_bulk_unsynced(|tx| tx.execute("DELETE FROM nothing", []));
    assert!(failed.await.is_err());
    assert_eq!(synchronous().await.unwrap(), 2, "FULL");
}
