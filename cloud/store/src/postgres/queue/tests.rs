//! Tests of the queues beyond the contract: several servers on one database, and bounds of the sum.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fedecks_protocol::{Lane, StreamId, Tag};
use parking_lot::Mutex;

use crate::conformance::support::device;
use crate::dead_letters::DeadLetter;
use crate::messages::{Effects, Enqueue, MessageStore, Step, StreamPosition};
use crate::postgres::store::PostgresStore;
use crate::postgres::test_server::TestServer;
use crate::postgres::tests::{check_no_deadlock, server, two_stores};
use crate::queue::{QueueBudget, QueueStatus, QueueStore, ReservedItem, Room, Settlement};
use crate::queue_item::QueueItem;

const AMPLE: QueueBudget = QueueBudget { items: u64::MAX, bytes: u64::MAX };
const SOME: Room = Room { items: 3, bytes: u64::MAX, bigger: false };
const NOW: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(1000);

fn item(lane: &str, id: &str) -> QueueItem {
    QueueItem { lane: lane.into(), id: id.into(), body: "{}".into(), at: 7 }
}

/// The counters of all queues are those of their rows, and lanes have items.
async fn check_counters(server: &TestServer, database: &str) {
    let client = server.connect(database).await;
    let wrong = "SELECT name, items, bytes, parked, parked_bytes FROM queues AS queue
        WHERE (items, bytes) <> (SELECT count(*), coalesce(sum(bytes), 0) FROM queue_items AS item
                                 WHERE item.queue = queue.queue)
            OR (parked, parked_bytes) <> (SELECT count(*), coalesce(sum(bytes), 0) FROM dead_letters AS letter
                                          WHERE letter.queue = queue.queue)";
    assert_eq!(client.query(wrong, &[]).await.unwrap().len(), 0);
    let empty = "SELECT 1 FROM queue_lanes WHERE lane NOT IN (SELECT lane FROM queue_items)
        UNION ALL SELECT 1 FROM queue_items WHERE lane NOT IN (SELECT lane FROM queue_lanes)";
    assert_eq!(client.query(empty, &[]).await.unwrap().len(), 0);
}

/// What is being delivered, and what was.
#[derive(Default)]
struct Delivered {
    lanes: BTreeSet<String>,
    items: BTreeMap<String, Vec<String>>,
}

/// Delivers until nothing is left.
async fn deliver(store: Arc<PostgresStore>, delivered: Arc<Mutex<Delivered>>) {
    while store.queue_status("q").await.unwrap().items > 0 {
        for ReservedItem { reservation, item, .. } in
            store.reserve("q", SOME, NOW, LATER).await.unwrap().items
        {
            assert!(delivered.lock().lanes.insert(item.lane.clone()), "{} twice", item.lane);
            tokio::task::yield_now().await;
            {
                let mut delivered = delivered.lock();
                delivered.lanes.remove(&item.lane);
                delivered.items.entry(item.lane).or_default().push(item.id);
            }
            let done = vec![(reservation, Settlement::Complete)];
            store.settle("q", done, NOW).await.unwrap();
        }
    }
}

#[tokio::test]
async fn several_servers_deliver_each_item_once_and_in_order() {
    let server = server!();
    let (database, stores) = two_stores(&server).await;
    let expected: Vec<String> = (0..6).map(|number| number.to_string()).collect();
    let lanes = ["a", "b", "c", "d", "e"];
    for id in &expected {
        let items = lanes.iter().map(|lane| item(lane, id)).collect();
        stores[0].enqueue("q", items, 0, AMPLE, NOW).await.unwrap();
    }
    let delivered = Arc::new(Mutex::new(Delivered::default()));
    let tasks: Vec<_> = (0..4)
        .map(|number| tokio::spawn(deliver(stores[number % 2].clone(), delivered.clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let of_lanes = lanes.iter().map(|lane| ((*lane).to_owned(), expected.clone()));
    assert_eq!(delivered.lock().items, of_lanes.collect());
    check_counters(&server, &database).await;
}

/// A device whose messages go to two queues, of which one has little room.
async fn send(store: Arc<PostgresStore>, number: u64) {
    let device = device(&format!("device-{number}"));
    let fence = store.open_streams(&device).await.unwrap().fence;
    for from in 0..12 {
        let enqueue = |queue: &str, items| Enqueue {
            queue: queue.into(),
            item: item(device.as_str(), &from.to_string()),
            budget: QueueBudget { items, bytes: u64::MAX },
        };
        // In different orders.
        let mut items = vec![enqueue("q", 1000), enqueue("small", 5)];
        items.rotate_left(usize::from(number % 2 == 0));
        let to = StreamPosition {
            stream: StreamId([1; 16]),
            lane: Lane::Normal,
            up_to: from + 1,
            tag: Tag(from),
        };
        let step = Step { from, to, effects: Effects { log: None, enqueue: items } };
        assert_eq!(store.accept(&device, fence, vec![step]).await.unwrap(), 1);
    }
}

/// Ends reservations in every way.
async fn settle(store: Arc<PostgresStore>, queue: &'static str) {
    for number in 0..20_u64 {
        let room = Room { items: 4, ..SOME };
        let reserved = store.reserve(queue, room, NOW, LATER).await.unwrap().items;
        let settlements = reserved.into_iter().zip(number..).map(|(of, number)| {
            let settlement = match number % 4 {
                0 => Settlement::Complete,
                1 => Settlement::Drop,
                2 => Settlement::RetryAt { due: NOW, counted: true },
                _ => Settlement::Park { reason: "no\0".into(), at: number },
            };
            (of.reservation, settlement)
        });
        // In another order than that of the lanes.
        let mut settlements: Vec<_> = settlements.collect();
        settlements.reverse();
        store.settle(queue, settlements, NOW).await.unwrap();
        if number % 7 == 0 {
            store.release(queue, NOW).await.unwrap();
            store.expire_dead_letters(DeadLetter::MAX_AGE + 2).await.unwrap();
        }
    }
}

#[tokio::test]
async fn counters_stay_right_while_several_servers_change_a_queue() {
    let server = server!();
    let (database, stores) = two_stores(&server).await;
    let mut tasks = Vec::new();
    for number in 0..6 {
        tasks.push(tokio::spawn(send(stores[number as usize % 2].clone(), number)));
    }
    for store in &stores {
        tasks.push(tokio::spawn(settle(store.clone(), "q")));
        tasks.push(tokio::spawn(settle(store.clone(), "small")));
    }
    for task in tasks {
        task.await.unwrap();
    }
    check_counters(&server, &database).await;
    let kept = stores[0].queue_status("small").await.unwrap();
    assert!(kept.items <= 5 + 2 * 4, "{kept:?}");
    // Both remove it.
    let (one, other) =
        tokio::join!(stores[0].keep_only_queues("", &[]), stores[1].keep_only_queues("small", &[]));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(stores[0].queue_status("q").await.unwrap(), QueueStatus::default());
    check_counters(&server, &database).await;
    check_no_deadlock(&server, &database, stores).await;
}

#[tokio::test]
async fn dead_letters_are_bounded_in_bytes() {
    let server = server!();
    let (database, stores) = two_stores(&server).await;
    let park = async |lane: &str, id: &str| {
        stores[0].enqueue("q", vec![item(lane, id)], 0, AMPLE, NOW).await.unwrap();
        let reserved = stores[0].reserve("q", SOME, NOW, LATER).await.unwrap().items;
        let park = Settlement::Park { reason: "no".into(), at: 1 };
        let settled = stores[0].settle("q", vec![(reserved[0].reservation, park)], NOW).await;
        settled.unwrap().dead_letters_dropped
    };
    for number in 0..4 {
        assert_eq!(park("a", &number.to_string()).await, 0);
    }
    assert_eq!(park("b", "4").await, 0);
    // As if they were big: two of them are what a lane may have.
    let big = DeadLetter::MAX_BYTES_PER_LANE / 2 - 1000;
    let sql = format!(
        "UPDATE dead_letters SET bytes = {big} WHERE lane = 'a';
         UPDATE queues SET parked_bytes = (SELECT sum(bytes) FROM dead_letters)"
    );
    server.run(&database, &sql).await;
    assert_eq!(park("a", "5").await, 2);
    check_counters(&server, &database).await;
    // More than the queue may have.
    let sql = format!(
        "UPDATE dead_letters SET bytes = {} WHERE lane = 'b';
         UPDATE queues SET parked_bytes = (SELECT sum(bytes) FROM dead_letters)",
        DeadLetter::MAX_BYTES - big - 1000
    );
    server.run(&database, &sql).await;
    assert_eq!(park("c", "6").await, 1, "the oldest one");
    let (mut ids, mut after) = (Vec::new(), 0);
    // One that is big is on a separate page.
    while let Some(letter) = stores[1].dead_letters("q", after, 1).await.unwrap().pop() {
        after = letter.number;
        ids.push(letter.item.id);
    }
    assert_eq!(ids, ["3", "4", "5", "6"]);
    check_counters(&server, &database).await;
}
