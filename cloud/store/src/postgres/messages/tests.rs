//! Tests of kept messages beyond the contract: several servers on one database, and a server of the database that is
//! killed.

use std::sync::Arc;

use fedecks_protocol::{Lane, StreamId, Tag};

use crate::conformance::support::device;
use crate::consumers::{ConsumerDevices, ConsumerStore, LogAcknowledged, OpenConsumer};
use crate::error::StoreError;
use crate::messages::{
    Effects, LogQuery, LoggedContent, MessageStore, NewLogged, Step, StreamPosition,
};
use crate::postgres::store::PostgresStore;
use crate::postgres::test_server::TestServer;
use crate::postgres::tests::{check_no_deadlock, open, server, two_stores};

const STREAM: StreamId = StreamId([1; 16]);

/// A step that logs its number.
fn step(from: u64) -> Step {
    let (stream, lane, up_to) = (STREAM, Lane::Normal, from + 1);
    let content = LoggedContent::Raw(from.to_string().into());
    let log = Some(NewLogged { redelivered: false, sent_at_ms: None, at: from, content });
    let to = StreamPosition { stream, lane, up_to, tag: Tag(up_to) };
    Step { from, to, effects: Effects { log, enqueue: Vec::new() } }
}

async fn send(store: Arc<PostgresStore>, number: u64, count: u64) {
    let device = device(&format!("device-{number}"));
    let fence = store.open_streams(&device).await.unwrap().fence;
    for from in 0..count / 2 {
        let steps = vec![step(2 * from), step(2 * from + 1)];
        assert_eq!(store.accept(&device, fence, steps).await.unwrap(), 2);
    }
}

/// Follows the log, and moves a consumer, until this number of messages was read.
async fn follow(store: Arc<PostgresStore>, name: &'static str, count: u64) {
    let consumer = OpenConsumer {
        name: name.to_owned(),
        devices: ConsumerDevices::default(),
        after: None,
        at: 1,
    };
    store.open_consumer(&consumer).await.unwrap();
    let mut after = 0;
    while after < count {
        let query = LogQuery { after, limit: 7, ..LogQuery::default() };
        for message in store.logged(&query).await.unwrap() {
            assert_eq!(message.number, after + 1, "none is missed");
            after = message.number;
        }
        let done = store.acknowledge_log(name, after, 2).await.unwrap();
        assert_eq!(done, LogAcknowledged::Done);
    }
}

#[tokio::test]
async fn readers_miss_nothing_that_several_servers_log() {
    let server = server!();
    let (database, stores) = two_stores(&server).await;
    let (devices, each) = (6, 20);
    let mut tasks = Vec::new();
    for (number, store) in (0..devices).zip(stores.iter().cycle()) {
        tasks.push(tokio::spawn(send(store.clone(), number, each)));
    }
    for store in &stores {
        tasks.push(tokio::spawn(follow(store.clone(), "both", devices * each)));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let status = stores[0].log_status().await.unwrap();
    assert_eq!((status.first, status.next), (1, devices * each + 1));
    let consumers = stores[0].consumers().await.unwrap();
    assert_eq!((consumers.len(), consumers[0].place), (1, devices * each));
    // Both trim it, of which one finds less.
    let (one, other) = tokio::join!(stores[0].trim_log(9, 1), stores[1].trim_log(15, 1));
    assert_eq!(one.unwrap() + other.unwrap(), devices * each - 1);
    let sum = "SELECT 1 FROM message_log_state WHERE bytes = (SELECT sum(bytes) FROM message_log)";
    assert_eq!(server.connect(&database).await.query(sum, &[]).await.unwrap().len(), 1);
    check_no_deadlock(&server, &database, stores).await;
}

#[tokio::test]
async fn of_two_servers_only_the_newest_connection_moves_a_device() {
    let server = server!();
    let (_, stores) = two_stores(&server).await;
    let kitchen = device("kitchen");
    let mut up_to = 0;
    for round in 0..10 {
        let older = stores[round % 2].open_streams(&kitchen).await.unwrap();
        let newer = stores[(round + 1) % 2].open_streams(&kitchen).await.unwrap();
        assert_eq!(newer.positions.first().map_or(0, |position| position.up_to), up_to);
        let (old, new) = tokio::join!(
            stores[round % 2].accept(&kitchen, older.fence, vec![step(up_to)]),
            stores[(round + 1) % 2].accept(&kitchen, newer.fence, vec![step(up_to)])
        );
        assert_eq!((old.unwrap(), new.unwrap()), (0, 1));
        // One connection that asks twice.
        let (one, other) = tokio::join!(
            stores[0].accept(&kitchen, newer.fence, vec![step(up_to + 1)]),
            stores[1].accept(&kitchen, newer.fence, vec![step(up_to + 1)])
        );
        assert_eq!(one.unwrap() + other.unwrap(), 1);
        up_to += 2;
    }
    assert_eq!(stores[0].log_status().await.unwrap().next, up_to + 1);
}

#[tokio::test]
async fn consumers_of_several_servers_are_limited() {
    let server = server!();
    let (_, stores) = two_stores(&server).await;
    let open = |number: usize| {
        let store = stores[number % 2].clone();
        tokio::spawn(async move {
            let (name, devices) = (format!("c{}", number / 2), ConsumerDevices::default());
            let consumer = OpenConsumer { name, devices, after: None, at: 1 };
            store.open_consumer(&consumer).await.unwrap()
        })
    };
    let tasks: Vec<_> = (0..2 * 110).map(open).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(stores[0].consumers().await.unwrap().len(), 100);
}

#[tokio::test]
async fn what_was_accepted_survives_a_killed_server() {
    let Some(server) = TestServer::new() else { return };
    let database = server.database().await;
    let store = Arc::new(open(&server, &database).await);
    let kitchen = device("kitchen");
    let (mut up_to, mut failures) = (0, 0);
    for _ in 0..3 {
        let fence = store.open_streams(&kitchen).await.unwrap().fence;
        let sending = {
            let (store, kitchen) = (store.clone(), kitchen.clone());
            tokio::spawn(async move {
                let mut up_to = up_to;
                loop {
                    match store.accept(&kitchen, fence, vec![step(up_to)]).await {
                        Ok(taken) => up_to += taken as u64,
                        Err(error) => return (up_to, error),
                    }
                }
            })
        };
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        server.stop("KILL");
        let (answered, error) = sending.await.unwrap();
        let location = store.shared.location.clone();
        match error {
            StoreError::Busy { location: of } | StoreError::Failed { location: of, .. } => {
                assert_eq!(of, location);
            }
            other => panic!("{other}"),
        }
        server.start();
        let opened = store.open_streams(&kitchen).await.unwrap();
        let stored = opened.positions.first().map_or(0, |position| position.up_to);
        // The last one may be stored without an answer.
        assert!([answered, answered + 1].contains(&stored), "{answered} {stored}");
        failures += 1;
        up_to = stored;
        assert_eq!(store.log_status().await.unwrap().next, stored + 1, "with its effects");
    }
    assert!(up_to > failures, "some were accepted");
}
