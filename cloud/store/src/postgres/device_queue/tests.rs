//! Tests of messages for devices beyond the contract: several servers on one database, and random orders.

use std::sync::Arc;

use fedecks_protocol::{DeviceId, Lane, Tag};

use crate::conformance::down_model::World;
use crate::conformance::support::device;
use crate::device_queue::{
    Acknowledged, Acknowledgement, DeviceQueueStore, DownEntry, DownRoom, NewDown, Queued,
};
use crate::down_size::DownLimits;
use crate::postgres::store::PostgresStore;
use crate::postgres::test_server::TestServer;
use crate::postgres::tests::{check_no_deadlock, new_store, server, two_stores};

const ALL: DownRoom = DownRoom { messages: usize::MAX, bytes: u64::MAX };

fn message(id: u64) -> NewDown {
    NewDown {
        id: Tag(id),
        lane: Lane::Normal,
        raw: false,
        body: "{}".into(),
        at: 1,
        expires_at: 1000,
        collapse_key: None,
    }
}

/// The counters are those of the rows.
async fn check_counters(server: &TestServer, database: &str) {
    let wrong = "SELECT device FROM down_devices AS queue WHERE (waiting, bytes, settled) <>
            (SELECT count(sequence), coalesce(sum(bytes) FILTER (WHERE sequence IS NOT NULL), 0),
                 count(*) - count(sequence) FROM down_messages AS message WHERE message.device = queue.device)
            OR keys <> (SELECT count(*) FROM down_keys AS key WHERE key.device = queue.device)
        UNION ALL SELECT device FROM down_messages WHERE device NOT IN (SELECT device FROM down_devices)
        UNION ALL SELECT 'all' FROM down_size
            WHERE bytes <> (SELECT coalesce(sum(bytes), 0) FROM down_devices)";
    let client = server.connect(database).await;
    assert_eq!(client.query(wrong, &[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn random_orders_lose_and_repeat_nothing() {
    let server = server!();
    for seed in 0..3 {
        let database = server.database().await;
        let mut world = World::new(seed, crate::postgres::tests::open(&server, &database).await);
        for _ in 0..4 {
            for _ in 0..50 {
                world.step().await;
            }
            check_counters(&server, &database).await;
        }
        while !world.is_settled() {
            world.deliver().await;
        }
        check_counters(&server, &database).await;
    }
}

/// Queues messages until there is no room for all devices. Returns how many.
async fn fill(store: Arc<PostgresStore>, device: DeviceId, first: u64, total_bytes: u64) -> u64 {
    let limits = DownLimits { messages: 1000, bytes: u64::MAX, total_bytes };
    for id in first.. {
        match store.queue_message(&device, message(id), None, limits).await.unwrap() {
            Queued::Accepted { .. } => {}
            Queued::StoreFull => return id - first,
            other => panic!("{other:?}"),
        }
    }
    0
}

#[tokio::test]
async fn the_limit_of_all_devices_is_exact_with_several_servers() {
    let server = server!();
    let (database, stores) = two_stores(&server).await;
    let ids = ["hall-1", "hall-2", "hall-1", "hall-2"].map(device);
    let one = message(0).stored_bytes(&ids[0]);
    let tasks: Vec<_> = (0..4_usize)
        .map(|number| {
            let first = 1000 * number as u64;
            tokio::spawn(fill(stores[number % 2].clone(), ids[number].clone(), first, 30 * one + 1))
        })
        .collect();
    let mut accepted = 0;
    for task in tasks {
        accepted += task.await.unwrap();
    }
    assert_eq!(accepted, 30);
    assert_eq!(stores[0].waiting().await.unwrap().messages, 30);
    let mut found = 0;
    for id in &ids[..2] {
        let window = stores[0].window(id, Lane::Normal, 0, ALL, 1).await.unwrap().unwrap();
        for (entry, number) in window.entries.iter().zip(1..) {
            assert!(matches!(entry, DownEntry::Message(of) if of.sequence == number), "{entry:?}");
        }
        assert_eq!(window.entries.len() as u64, window.newest);
        found += window.newest;
    }
    assert_eq!(found, 30);
    check_counters(&server, &database).await;
    check_no_deadlock(&server, &database, stores).await;
}

/// A device that gets what others queue for it at the same time.
async fn receive(store: Arc<PostgresStore>, device: DeviceId, count: usize) {
    let (mut after, mut received) = (0, 0);
    while received < count {
        let window = store.window(&device, Lane::Normal, after, ALL, 1).await.unwrap();
        let Some(window) = window else { continue };
        let mut up_to = (after, Tag(0));
        for entry in window.entries {
            let DownEntry::Message(message) = entry else { panic!("{entry:?}") };
            assert_eq!(message.sequence, up_to.0 + 1);
            up_to = (message.sequence, message.id);
            received += 1;
        }
        let acknowledgement = Acknowledgement {
            stream: window.stream,
            up_to: up_to.0,
            tag: up_to.1,
            rejected: Vec::new(),
            resumed: false,
        };
        let settled = store.acknowledge(&device, acknowledgement, 1).await.unwrap();
        let Acknowledged::Settled(settled) = settled else { panic!("{settled:?}") };
        assert_eq!(settled.len() as u64, up_to.0 - after);
        after = up_to.0;
        // Others that expire are looked for at the same time.
        store.expire_messages(2).await.unwrap();
    }
}

#[tokio::test]
async fn devices_receive_what_several_servers_queue() {
    let server = server!();
    let (database, stores) = two_stores(&server).await;
    let ids = ["a", "b", "c"].map(device);
    let mut tasks = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        tasks.push(tokio::spawn(receive(stores[number % 2].clone(), id.clone(), 20)));
        for (place, store) in stores.iter().enumerate() {
            let (store, id) = (store.clone(), id.clone());
            tasks.push(tokio::spawn(async move {
                for number in 0..10 {
                    let message = message(100 * place as u64 + number);
                    let limits = DownLimits::default();
                    let queued = store.queue_message(&id, message, None, limits).await.unwrap();
                    assert_eq!(queued, Queued::Accepted { replaced: Vec::new() });
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(stores[0].waiting().await.unwrap().messages, 0);
    check_counters(&server, &database).await;
    check_no_deadlock(&server, &database, stores).await;
}

#[tokio::test]
async fn many_messages_expire_in_steps() {
    let server = server!();
    let store = new_store(&server).await;
    let id = device("kitchen");
    let limits = DownLimits::default();
    for number in 0..260 {
        let message = NewDown { expires_at: 10 + number, ..message(number) };
        store.queue_message(&id, message, None, limits).await.unwrap();
    }
    assert!(store.expire_messages(9).await.unwrap().messages.is_empty());
    let first = store.expire_messages(5000).await.unwrap();
    assert_eq!((first.messages.len(), first.more), (250, true));
    let second = store.expire_messages(5000).await.unwrap();
    assert_eq!((second.messages.len(), second.more), (10, false));
    let window = store.window(&id, Lane::Normal, 0, ALL, 5000).await.unwrap().unwrap();
    assert!(matches!(window.entries[..], [DownEntry::Void { from: 1, to: 260, .. }]));
}
