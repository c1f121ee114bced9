//! The contract of kept messages.

use fedecks_protocol::{DeviceId, Lane, StreamId, Tag};

use super::support::{cli, device};
use crate::devices::DeviceStore;
use crate::messages::{
    Effects, Enqueue, LogQuery, LogStatus, LoggedContent, MessageStore, NewLogged, Step,
    StreamPosition,
};
use crate::queue::{QueueBudget, QueueStore};
use crate::queue_item::QueueItem;

/// Tests the contract of [`MessageStore`] on empty stores, which `open` creates.
pub async fn messages<S: MessageStore + QueueStore + DeviceStore>(open: impl AsyncFn() -> S) {
    a_position_moves_only_from_where_it_is(&open().await).await;
    an_older_connection_moves_nothing(&open().await).await;
    effects_are_stored_with_their_step_only(&open().await).await;
    old_streams_of_a_lane_are_forgotten(&open().await).await;
    the_log_is_read_in_order_and_trimmed(&open().await).await;
    a_forgotten_device_begins_anew(&open().await).await;
}

const STREAM: StreamId = StreamId([7; 16]);

fn step(stream: StreamId, from: u64, up_to: u64) -> Step {
    let to = StreamPosition { stream, lane: Lane::Urgent, up_to, tag: Tag(u64::MAX - up_to) };
    Step { from, to, effects: Effects::default() }
}

fn logged(text: &str, at: u64) -> NewLogged {
    let content = LoggedContent::Json(format!("{text:?}").into());
    NewLogged { redelivered: true, sent_at_ms: None, at, content }
}

fn with_message(step: Step, text: &str, at: u64) -> Step {
    let effects = Effects { log: Some(logged(text, at)), enqueue: Vec::new() };
    Step { effects, ..step }
}

async fn positions(store: &impl MessageStore, device: &DeviceId) -> Vec<StreamPosition> {
    store.open_streams(device).await.unwrap().positions
}

/// Takes steps on a new connection.
async fn accept(store: &impl MessageStore, device: &DeviceId, steps: Vec<Step>) -> usize {
    let fence = store.open_streams(device).await.unwrap().fence;
    store.accept(device, fence, steps).await.unwrap()
}

async fn an_older_connection_moves_nothing(store: &impl MessageStore) {
    let kitchen = device("kitchen");
    let older = store.open_streams(&kitchen).await.unwrap().fence;
    assert_eq!(store.accept(&kitchen, older, vec![step(STREAM, 0, 1)]).await.unwrap(), 1);
    let newer = store.open_streams(&kitchen).await.unwrap();
    assert_eq!(newer.positions.len(), 1);
    assert_eq!(store.accept(&kitchen, older, vec![step(STREAM, 1, 2)]).await.unwrap(), 0);
    assert_eq!(
        store.accept(&device("hall"), newer.fence, vec![step(STREAM, 0, 1)]).await.unwrap(),
        0
    );
    assert_eq!(store.accept(&kitchen, newer.fence, vec![step(STREAM, 1, 2)]).await.unwrap(), 1);
}

async fn a_position_moves_only_from_where_it_is(store: &impl MessageStore) {
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    assert_eq!(positions(store, &kitchen).await, []);
    let steps =
        vec![step(STREAM, 0, 1), step(STREAM, 1, 5), step(STREAM, 4, 6), step(STREAM, 5, 6)];
    assert_eq!(accept(store, &kitchen, steps).await, 2, "none after the wrong one");
    assert_eq!(accept(store, &kitchen, vec![step(STREAM, 0, 1)]).await, 0);
    let position =
        StreamPosition { stream: STREAM, lane: Lane::Urgent, up_to: 5, tag: Tag(u64::MAX - 5) };
    assert_eq!(positions(store, &kitchen).await, [position]);
    assert_eq!(positions(store, &hall).await, []);
    assert_eq!(accept(store, &hall, vec![step(STREAM, 0, 3)]).await, 1);
    store.forget_stream(&kitchen, STREAM).await.unwrap();
    assert_eq!(positions(store, &kitchen).await, []);
    assert_eq!(positions(store, &hall).await.len(), 1);
}

async fn effects_are_stored_with_their_step_only(store: &(impl MessageStore + QueueStore)) {
    let kitchen = device("kitchen");
    let enqueue = |id: &str| {
        let item = QueueItem { lane: "kitchen".into(), id: id.into(), body: "{}".into(), at: 1 };
        Enqueue { queue: "q".into(), item, budget: QueueBudget { items: 2, bytes: u64::MAX } }
    };
    let with = |from, id| {
        let effects = Effects { log: Some(logged(id, 1)), enqueue: vec![enqueue(id)] };
        Step { effects, ..step(STREAM, from, from + 1) }
    };
    let steps = vec![with(0, "a"), with(1, "b"), with(1, "repeated"), with(2, "after it")];
    assert_eq!(accept(store, &kitchen, steps).await, 2);
    let status = store.queue_status("q").await.unwrap();
    assert_eq!((status.items, status.dropped), (2, 0));
    accept(store, &kitchen, vec![with(2, "c")]).await;
    let status = store.queue_status("q").await.unwrap();
    assert_eq!((status.items, status.dropped), (2, 1), "within its budget");
    let all = LogQuery { limit: 10, ..LogQuery::default() };
    let log = store.logged(&all).await.unwrap();
    let contents: Vec<_> = log.into_iter().map(|logged| logged.message.content).collect();
    assert_eq!(contents, ["a", "b", "c"].map(|text| logged(text, 1).content));
}

async fn old_streams_of_a_lane_are_forgotten(store: &impl MessageStore) {
    let kitchen = device("kitchen");
    let stream = |number: u8| StreamId([number; 16]);
    for number in 0..8 {
        accept(store, &kitchen, vec![step(stream(number), 0, 1)]).await;
    }
    accept(store, &kitchen, vec![step(stream(0), 1, 2), step(stream(8), 0, 1)]).await;
    let mut streams: Vec<_> =
        positions(store, &kitchen).await.into_iter().map(|it| it.stream).collect();
    streams.sort_unstable();
    assert_eq!(streams, [0, 2, 3, 4, 5, 6, 7, 8].map(stream), "the second was used first");
}

async fn the_log_is_read_in_order_and_trimmed(store: &impl MessageStore) {
    assert_eq!(store.log_status().await.unwrap(), LogStatus { first: 1, next: 1, bytes: 0 });
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    for number in 0..700 {
        let to = if number == 650 { &hall } else { &kitchen };
        let step = step(StreamId([(number == 650).into(); 16]), 0, 0);
        let step = Step { to: StreamPosition { up_to: 0, ..step.to }, ..step };
        let step = with_message(step, &number.to_string(), number);
        assert_eq!(accept(store, to, vec![step]).await, 1);
    }
    let query = |after, devices: &[&str]| {
        let devices = devices.iter().map(|text| text.parse().unwrap()).collect();
        LogQuery { after, devices, limit: 100 }
    };
    let page = store.logged(&query(600, &[])).await.unwrap();
    assert_eq!((page.len(), page[0].number, page[99].number), (100, 601, 700));
    let one = store.logged(&query(0, &["hall"])).await.unwrap();
    assert_eq!((one.len(), one[0].number, &one[0].device), (1, 651, &hall));
    assert_eq!((one[0].id, one[0].lane), (Tag(u64::MAX), Lane::Urgent));
    assert_eq!(one[0].message, logged("650", 650));
    assert!(store.logged(&query(700, &[])).await.unwrap().is_empty());

    let full = store.log_status().await.unwrap();
    assert_eq!((full.first, full.next), (1, 701));
    assert_eq!(store.trim_log(600, u64::MAX).await.unwrap(), 600);
    let half = store.log_status().await.unwrap();
    assert_eq!((half.first, half.next), (601, 701));
    assert!(half.bytes < full.bytes / 6, "{full:?} {half:?}");
    store.trim_log(0, half.bytes / 2).await.unwrap();
    assert!(store.log_status().await.unwrap().bytes <= half.bytes / 2);
    store.trim_log(u64::MAX, 0).await.unwrap();
    let least = store.log_status().await.unwrap();
    assert_eq!((least.first, least.next), (700, 701), "the newest stays");
}

async fn a_forgotten_device_begins_anew(store: &(impl MessageStore + DeviceStore)) {
    let kitchen = device("kitchen");
    store.revoke(&kitchen, &cli()).await.unwrap();
    accept(store, &kitchen, vec![step(STREAM, 0, 1)]).await;
    store.forget(&kitchen, &cli()).await.unwrap();
    assert_eq!(positions(store, &kitchen).await, []);
}
