//! The contract of the outbox.

use crate::outbox::{OutboxEntry, OutboxItem, OutboxStore};

/// Tests the contract of [`OutboxStore`], and of its `Epoch`, on empty stores, which `open` creates.
pub async fn outbox<S: OutboxStore>(open: impl AsyncFn() -> S) {
    events_stay_in_order_until_they_are_removed(&open().await).await;
    events_of_other_webhooks_are_removed(&open().await).await;
}

fn entry(lane: &str, event: &str) -> OutboxEntry {
    let body = format!("the body of {event} takes \u{20ac} 5");
    OutboxEntry { lane: lane.into(), event: event.into(), body: body.into() }
}

async fn events_stay_in_order_until_they_are_removed(store: &impl OutboxStore) {
    let epoch = store.epoch();
    let first = store.outbox_add("crm", vec![entry("a", "1"), entry("b", "2")], 7).await;
    let first = first.unwrap();
    store.outbox_add("other", vec![entry("a", "1")], 8).await.unwrap();
    let second = store.outbox_add("crm", vec![entry("a", "3")], 9).await.unwrap();
    assert!(first[0] < first[1] && first[1] < second[0]);
    let item = |sequence, lane: &str, event: &str, at| {
        let bytes = entry(lane, event).stored_bytes();
        OutboxItem { sequence, lane: lane.into(), event: event.into(), bytes, at }
    };
    let waiting =
        [item(first[0], "a", "1", 7), item(first[1], "b", "2", 7), item(second[0], "a", "3", 9)];
    assert_eq!(store.outbox("crm").await.unwrap(), waiting);
    assert_eq!(store.outbox_body("crm", first[1]).await.unwrap(), Some(entry("b", "2")));
    assert_eq!(store.outbox_body("other", first[1]).await.unwrap(), None);
    let done = |event: &str| (first[1], event.to_owned());
    // As after a restore: the number belongs to another event or webhook.
    store.outbox_remove("crm", vec![done("9")]).await.unwrap();
    store.outbox_remove("other", vec![done("2")]).await.unwrap();
    assert_eq!(store.outbox_body("crm", first[1]).await.unwrap(), Some(entry("b", "2")));
    let both = vec![(first[0], "1".into()), done("2"), (99, "x".into())];
    store.outbox_remove("crm", both).await.unwrap();
    assert_eq!(store.outbox_body("crm", first[1]).await.unwrap(), None);
    assert_eq!(store.outbox("crm").await.unwrap(), [item(second[0], "a", "3", 9)]);
    store.outbox_remove("crm", vec![(second[0], "3".into())]).await.unwrap();
    let third = store.outbox_add("crm", vec![entry("a", "4")], 1).await.unwrap();
    assert!(third[0] > second[0], "a number is never reused");
    assert_eq!(store.epoch(), epoch, "a change does not replace the store");
}

async fn events_of_other_webhooks_are_removed(store: &impl OutboxStore) {
    for webhook in ["crm", "old", "older"] {
        store.outbox_add(webhook, vec![entry("a", "1"), entry("b", "2")], 1).await.unwrap();
    }
    assert_eq!(store.outbox_keep_only(&["crm".into()]).await.unwrap(), 4);
    assert_eq!(store.outbox("crm").await.unwrap().len(), 2);
    assert_eq!(store.outbox("old").await.unwrap(), []);
}
