//! The contract of consumers of the message log.

use fedecks_protocol::{Lane, StreamId, Tag};

use super::support::device;
use crate::consumers::{
    ConsumerAnswer, ConsumerDevices, ConsumerRecord, ConsumerStore, LogAcknowledged, OpenConsumer,
};
use crate::messages::{Effects, LoggedContent, MessageStore, NewLogged, Step, StreamPosition};

/// Tests the contract of [`ConsumerStore`] on empty stores, which `open` creates.
pub async fn consumers<S: ConsumerStore + MessageStore>(open: impl AsyncFn() -> S) {
    a_consumer_continues_after_what_it_acknowledged(&open().await).await;
    what_left_the_log_unread_is_counted_once_and_told_until_acknowledged(&open().await).await;
    a_place_beyond_the_log_is_not_taken(&open().await).await;
    a_name_belongs_to_the_same_devices(&open().await).await;
    consumers_are_listed_removed_and_limited(&open().await).await;
}

/// Logs messages of the times `from` to `to`, which are their numbers.
async fn log(store: &impl MessageStore, from: u64, to: u64) {
    let kitchen = device("kitchen");
    let fence = store.open_streams(&kitchen).await.unwrap().fence;
    let steps = (from..=to).map(|number| {
        let position = StreamPosition {
            stream: StreamId([1; 16]),
            lane: Lane::Normal,
            up_to: number,
            tag: Tag(number),
        };
        let content = LoggedContent::Raw(vec![0].into());
        let message = NewLogged { redelivered: false, sent_at_ms: None, at: number, content };
        let effects = Effects { log: Some(message), enqueue: Vec::new() };
        Step { from: number - 1, to: position, effects }
    });
    let steps: Vec<_> = steps.collect();
    let count = steps.len();
    assert_eq!(store.accept(&kitchen, fence, steps).await.unwrap(), count);
}

/// Removes the messages before this number from the log.
async fn trim(store: &impl MessageStore, first: u64) {
    store.trim_log(first, u64::MAX).await.unwrap();
    assert_eq!(store.log_status().await.unwrap().first, first);
}

async fn open(store: &impl ConsumerStore, name: &str, after: Option<u64>) -> ConsumerAnswer {
    open_as(store, name, after, ConsumerDevices::default()).await
}

async fn open_as(
    store: &impl ConsumerStore,
    name: &str,
    after: Option<u64>,
    devices: ConsumerDevices,
) -> ConsumerAnswer {
    let consumer = OpenConsumer { name: name.to_owned(), devices, after, at: 100 };
    store.open_consumer(&consumer).await.unwrap()
}

async fn listed(store: &impl ConsumerStore) -> Vec<(String, u64, u64)> {
    let all = store.consumers().await.unwrap().into_iter();
    all.map(|it| (it.name, it.place, it.missed)).collect()
}

async fn a_consumer_continues_after_what_it_acknowledged(
    store: &(impl ConsumerStore + MessageStore),
) {
    use ConsumerAnswer::After;
    log(store, 1, 10).await;
    assert_eq!(open(store, "crm", None).await, After(0), "all that there is");
    assert_eq!(open(store, "crm", None).await, After(0), "reading alone moves nothing");
    assert_eq!(open(store, "crm", Some(4)).await, After(4));
    assert_eq!(open(store, "crm", Some(3)).await, After(4), "a late repetition");
    assert_eq!(store.acknowledge_log("crm", 6, 100).await.unwrap(), LogAcknowledged::Done);
    assert_eq!(store.acknowledge_log("crm", 5, 100).await.unwrap(), LogAcknowledged::Done);
    assert_eq!(open(store, "crm", None).await, After(6));
    assert_eq!(open(store, "other", None).await, After(0));
    assert_eq!(open(store, "later", Some(7)).await, After(7), "begins there");
    let expected = [("crm", 6, 0), ("later", 7, 0), ("other", 0, 0)];
    assert_eq!(listed(store).await, expected.map(|(name, at, n)| (name.to_owned(), at, n)));
}

async fn what_left_the_log_unread_is_counted_once_and_told_until_acknowledged(
    store: &(impl ConsumerStore + MessageStore),
) {
    use ConsumerAnswer::After;
    log(store, 1, 20).await;
    trim(store, 3).await;
    assert_eq!(open(store, "crm", None).await, After(2), "what was there when it was added");
    assert_eq!(store.count_missed("crm").await.unwrap(), 0);
    trim(store, 6).await;
    assert_eq!(listed(store).await, [("crm".to_owned(), 2, 3)], "before it asks");
    assert_eq!(open(store, "crm", None).await, After(2));
    for _ in 0..2 {
        assert_eq!(store.count_missed("crm").await.unwrap(), 3);
    }
    assert_eq!(open(store, "crm", Some(2)).await, After(5), "the answer did not arrive");
    trim(store, 8).await;
    assert_eq!(store.count_missed("crm").await.unwrap(), 5);
    assert_eq!(open(store, "crm", Some(12)).await, After(12));
    trim(store, 13).await;
    assert_eq!(store.count_missed("crm").await.unwrap(), 0, "it knows, and has read the rest");
    assert_eq!(listed(store).await, [("crm".to_owned(), 12, 5)]);
    assert_eq!(store.count_missed("unknown").await.unwrap(), 0);
}

async fn a_place_beyond_the_log_is_not_taken(store: &(impl ConsumerStore + MessageStore)) {
    use ConsumerAnswer::After;
    log(store, 1, 5).await;
    assert_eq!(open(store, "crm", Some(6)).await, After(0));
    assert_eq!(open(store, "crm", Some(2)).await, After(2));
    assert_eq!(open(store, "crm", Some(u64::MAX)).await, After(2));
    let acknowledged = store.acknowledge_log("crm", 6, 100).await.unwrap();
    assert_eq!(acknowledged, LogAcknowledged::BeyondLog);
    assert_eq!(open(store, "crm", Some(5)).await, After(5), "the newest");
    assert_eq!(store.acknowledge_log("unknown", 1, 100).await.unwrap(), LogAcknowledged::Unknown);
}

async fn a_name_belongs_to_the_same_devices(store: &impl ConsumerStore) {
    use ConsumerAnswer::{After, OtherDevices};
    let pattern = |text: &str| Some(text.parse().unwrap());
    let own = ConsumerDevices { asked: pattern("a*"), scope: pattern("b*") };
    assert_eq!(open_as(store, "crm", None, own.clone()).await, After(0));
    assert_eq!(open_as(store, "crm", None, own.clone()).await, After(0));
    for other in [
        ConsumerDevices::default(),
        ConsumerDevices { asked: pattern("b*"), ..own.clone() },
        ConsumerDevices { scope: None, ..own.clone() },
    ] {
        assert_eq!(open_as(store, "crm", None, other).await, OtherDevices);
    }
    assert_eq!(store.consumers().await.unwrap()[0].devices, own);
}

async fn consumers_are_listed_removed_and_limited(store: &impl ConsumerStore) {
    use ConsumerAnswer::{After, TooMany};
    for number in 0..ConsumerRecord::MAX {
        assert_eq!(open(store, &format!("c{number:03}"), None).await, After(0));
    }
    assert_eq!(open(store, "one-more", None).await, TooMany);
    assert_eq!(open(store, "c007", None).await, After(0));
    assert!(store.remove_consumer("c007").await.unwrap());
    assert!(!store.remove_consumer("c007").await.unwrap());
    assert_eq!(open(store, "one-more", None).await, After(0));
    let all = store.consumers().await.unwrap();
    assert_eq!((all.len(), &*all[7].name), (ConsumerRecord::MAX, "c008"), "by name");
    assert_eq!(all[0].used_at, 100);
}
