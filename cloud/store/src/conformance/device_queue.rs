//! The contract of messages for devices: how they are queued, listed and given up. `down_streams` tests how they are
//! handed out and acknowledged.

use fedecks_protocol::{DeviceId, Lane, Tag};

use super::down_streams;
use super::down_support::{
    ALL, AT, EXPIRY, accepted, acknowledge, brief, message, queue, queue_all, resume, state, window,
};
use super::support::{cli, device};
use crate::device_queue::{
    Acknowledged, Cancelled, DeviceQueueStore, DownRoom, DownState, DownStatus, DropReason,
    ExpiredMessages, IdempotencyKey, NewDown, Queued,
};
use crate::devices::DeviceStore;
use crate::down_size::{DownLimits, DownSize};

/// Tests the contract of [`DeviceQueueStore`] on empty stores, which `open` creates.
pub async fn device_queue<S: DeviceQueueStore + DeviceStore>(open: impl AsyncFn() -> S) {
    what_waits_is_bounded(&open().await).await;
    a_repeated_request_queues_nothing(&open().await).await;
    a_collapse_key_replaces_what_was_not_sent(&open().await).await;
    only_what_was_not_sent_is_cancelled(&open().await).await;
    only_what_was_not_sent_expires(&open().await).await;
    settled_messages_are_kept_for_a_day(&open().await).await;
    messages_are_listed_newest_first(&open().await).await;
    a_forgotten_device_loses_what_waits(&open().await).await;
    what_waits_for_all_is_counted(&open().await).await;
    down_streams::check(open).await;
}

fn keyed(id: u64, key: &str) -> NewDown {
    NewDown { collapse_key: Some(key.into()), ..message(id) }
}

/// Does all that is due.
async fn expire(store: &impl DeviceQueueStore, now: u64) -> Vec<(DeviceId, Tag)> {
    let mut all = Vec::new();
    loop {
        let ExpiredMessages { messages, more } = store.expire_messages(now).await.unwrap();
        all.extend(messages);
        if !more {
            return all;
        }
    }
}

async fn what_waits_is_bounded(store: &impl DeviceQueueStore) {
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    let one = message(1).stored_bytes(&kitchen);
    let ample = DownLimits { messages: 9, bytes: u64::MAX, total_bytes: u64::MAX };
    for (id, limits, expected) in [
        (1, DownLimits { messages: 0, ..ample }, Queued::QueueFull),
        (1, DownLimits { bytes: one - 1, ..ample }, Queued::QueueFull),
        (1, DownLimits { total_bytes: one - 1, ..ample }, Queued::StoreFull),
        (1, DownLimits { messages: 1, bytes: one, total_bytes: one }, accepted(&[])),
        (2, DownLimits { messages: 1, ..ample }, Queued::QueueFull),
        (2, DownLimits { bytes: 2 * one - 1, ..ample }, Queued::QueueFull),
        (2, DownLimits { total_bytes: 2 * one - 1, ..ample }, Queued::StoreFull),
    ] {
        let queued = store.queue_message(&kitchen, message(id), None, limits).await.unwrap();
        assert_eq!(queued, expected, "{id} {limits:?}");
    }
    assert_eq!(state(store, &kitchen, 2).await, None, "refused");
    let full = DownLimits { messages: 1, bytes: u64::MAX, total_bytes: one };
    let other = store.queue_message(&hall, message(2), None, full).await.unwrap();
    assert_eq!(other, Queued::StoreFull);
    // The room is free again once the message is settled.
    let sent = window(store, &kitchen, 0, ALL, AT).await;
    acknowledge(store, &kitchen, &sent, 1).await;
    let full = DownLimits { messages: 1, bytes: one, total_bytes: one };
    let queued = store.queue_message(&kitchen, message(2), None, full).await.unwrap();
    assert_eq!(queued, accepted(&[]));
}

async fn a_repeated_request_queues_nothing(store: &impl DeviceQueueStore) {
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    let request = async |of: &DeviceId, caller: &str, key: &str, digest, id, at| {
        let key = IdempotencyKey { caller: caller.into(), key: key.into(), digest: [digest; 32] };
        let message = NewDown { at, ..message(id) };
        store.queue_message(of, message, Some(key), DownLimits::default()).await.unwrap()
    };
    assert_eq!(request(&kitchen, "crm", "k", 1, 1, AT).await, accepted(&[]));
    assert_eq!(request(&kitchen, "crm", "k", 1, 2, AT).await, Queued::Repeated(Tag(1)));
    assert_eq!(request(&kitchen, "crm", "k", 2, 3, AT).await, Queued::KeyConflict);
    // Another caller, device or key, whose texts are the same in a row.
    assert_eq!(request(&kitchen, "cr", "mk", 2, 4, AT).await, accepted(&[]));
    assert_eq!(request(&hall, "crm", "k", 2, 5, AT).await, accepted(&[]));
    // It is remembered when the message is settled, and for a day.
    let sent = window(store, &kitchen, 0, ALL, AT).await;
    assert_eq!(brief(&sent), ["1: 1", "2: 4"]);
    acknowledge(store, &kitchen, &sent, 2).await;
    let last = AT + DownStatus::MAX_AGE - 1;
    expire(store, last).await;
    assert_eq!(request(&kitchen, "crm", "k", 1, 6, last).await, Queued::Repeated(Tag(1)));
    assert_eq!(request(&kitchen, "crm", "k", 2, 7, last + 1).await, accepted(&[]));
    assert_eq!(request(&kitchen, "crm", "k", 2, 8, last + 1).await, Queued::Repeated(Tag(7)));
    // A refused request leaves no key behind.
    let none = DownLimits { messages: 0, ..DownLimits::default() };
    let key = IdempotencyKey { caller: "crm".into(), key: "full".into(), digest: [1; 32] };
    let full = store.queue_message(&kitchen, message(9), Some(key), none).await.unwrap();
    assert_eq!(full, Queued::QueueFull);
    assert_eq!(request(&kitchen, "crm", "full", 2, 9, last).await, accepted(&[]));
    // The same message.
    assert_eq!(queue(store, &kitchen, message(9)).await, Queued::Repeated(Tag(9)));
}

async fn a_collapse_key_replaces_what_was_not_sent(store: &impl DeviceQueueStore) {
    let kitchen = device("kitchen");
    assert_eq!(queue(store, &kitchen, keyed(1, "a")).await, accepted(&[]));
    window(store, &kitchen, 0, ALL, AT).await;
    // The first was sent.
    assert_eq!(queue(store, &kitchen, keyed(2, "a")).await, accepted(&[]));
    assert_eq!(queue(store, &kitchen, keyed(3, "b")).await, accepted(&[]));
    let urgent = NewDown { lane: Lane::Urgent, ..keyed(4, "a") };
    assert_eq!(queue(store, &kitchen, urgent).await, accepted(&[2]));
    assert_eq!(queue(store, &kitchen, keyed(5, "a")).await, accepted(&[4]));
    assert_eq!(queue(store, &device("hall"), keyed(6, "a")).await, accepted(&[]));
    let replaced = Some(DownState::Dropped(DropReason::Replaced));
    assert_eq!(state(store, &kitchen, 2).await, replaced);
    let sent = window(store, &kitchen, 1, ALL, AT).await;
    assert_eq!(brief(&sent), ["2-2 replaced", "3: 3", "4: 5"]);
    let urgent = store.window(&kitchen, Lane::Urgent, 0, ALL, AT).await.unwrap().unwrap();
    assert_eq!(brief(&urgent), ["1-1 replaced"]);
    // What is replaced makes room, and is not lost if there is too little.
    let one = keyed(7, "c").stored_bytes(&kitchen);
    queue(store, &kitchen, keyed(7, "c")).await;
    let bigger = NewDown { body: "x".repeat(50).into(), ..keyed(8, "c") };
    let limits = DownLimits { messages: 4, bytes: 4 * one, ..DownLimits::default() };
    let refused = store.queue_message(&kitchen, bigger, None, limits).await.unwrap();
    assert_eq!(
        (refused, state(store, &kitchen, 7).await),
        (Queued::QueueFull, Some(DownState::Queued))
    );
    let fits = store.queue_message(&kitchen, keyed(8, "c"), None, limits).await.unwrap();
    assert_eq!(fits, accepted(&[7]));
}

async fn only_what_was_not_sent_is_cancelled(store: &impl DeviceQueueStore) {
    let kitchen = device("kitchen");
    queue_all(store, &kitchen, 1..=4).await;
    let sent = window(store, &kitchen, 0, DownRoom { messages: 2, ..ALL }, AT).await;
    let cancel = async |id| store.cancel_message(&kitchen, Tag(id), AT + 7).await.unwrap();
    assert_eq!(cancel(1).await, Cancelled::AlreadySent);
    assert_eq!(cancel(3).await, Cancelled::Dropped);
    let dropped = DownState::Dropped(DropReason::Cancelled);
    assert_eq!(cancel(3).await, Cancelled::Settled(dropped));
    assert_eq!(cancel(9).await, Cancelled::Unknown);
    let other = store.cancel_message(&device("hall"), Tag(4), AT).await.unwrap();
    assert_eq!(other, Cancelled::Unknown);
    let expected = DownStatus {
        state: dropped,
        lane: Lane::Normal,
        queued_at: AT,
        changed_at: AT + 7,
        expires_at: EXPIRY,
    };
    assert_eq!(store.message_status(&kitchen, Tag(3)).await.unwrap(), Some(expected));
    acknowledge(store, &kitchen, &sent, 1).await;
    assert_eq!(cancel(1).await, Cancelled::Settled(DownState::Delivered));
    // The second did not arrive, says the device.
    resume(store, &kitchen, &sent, 1).await;
    assert_eq!(cancel(2).await, Cancelled::Dropped);
    let rest = window(store, &kitchen, 1, ALL, AT).await;
    assert_eq!(brief(&rest), ["2-3 cancelled", "4: 4"]);
}

async fn only_what_was_not_sent_expires(store: &impl DeviceQueueStore) {
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    queue_all(store, &kitchen, 1..=3).await;
    queue(store, &kitchen, NewDown { expires_at: EXPIRY + 1, ..message(4) }).await;
    queue_all(store, &hall, [1]).await;
    let sent = window(store, &kitchen, 0, DownRoom { messages: 2, ..ALL }, AT).await;
    assert_eq!(expire(store, EXPIRY - 1).await, []);
    let mut expired = expire(store, EXPIRY).await;
    expired.sort();
    assert_eq!(expired, [(hall.clone(), Tag(1)), (kitchen.clone(), Tag(3))]);
    assert_eq!(expire(store, EXPIRY).await, []);
    // Another connection gets what was handed out, together with what was not.
    let repeated = window(store, &kitchen, 0, DownRoom { messages: 3, ..ALL }, EXPIRY).await;
    assert_eq!(brief(&repeated), ["1: 1 again", "2: 2 again", "3-3 expired", "4: 4"]);
    assert_eq!(repeated.expired, []);
    resume(store, &kitchen, &sent, 0).await;
    window(store, &kitchen, 0, DownRoom { messages: 2, ..ALL }, AT).await;
    assert_eq!(state(store, &kitchen, 2).await, Some(DownState::Sent));
    assert_eq!(state(store, &kitchen, 3).await, Some(DownState::Expired));
    // What did not arrive expires after all; the window finds it, too.
    resume(store, &kitchen, &sent, 1).await;
    assert_eq!(expire(store, EXPIRY).await, [(kitchen.clone(), Tag(2))]);
    let rest = window(store, &kitchen, 1, ALL, EXPIRY + 1).await;
    assert_eq!((brief(&rest), rest.expired), (vec!["2-4 expired".to_owned()], vec![Tag(4)]));
    assert_eq!(state(store, &kitchen, 4).await, Some(DownState::Expired));
    assert_eq!(expire(store, EXPIRY + 1).await, []);
}

async fn settled_messages_are_kept_for_a_day(store: &impl DeviceQueueStore) {
    const MORE: u64 = 5;
    let kitchen = device("kitchen");
    // Each is replaced by the next one, a second later; the last one waits.
    let last = DownStatus::MAX_SETTLED + MORE + 1;
    for id in 1..=last {
        let expires_at = AT + 2 * last;
        queue(store, &kitchen, NewDown { at: AT + id - 1, expires_at, ..keyed(id, "a") }).await;
    }
    assert_eq!(state(store, &kitchen, MORE).await, None);
    assert!(state(store, &kitchen, MORE + 1).await.is_some());
    let now = AT + DownStatus::MAX_AGE + 300;
    assert_eq!(expire(store, now).await, [(kitchen.clone(), Tag(last))]);
    assert_eq!(state(store, &kitchen, 300).await, None);
    assert!(state(store, &kitchen, 301).await.is_some());
    // The numbers are still there.
    let window = window(store, &kitchen, 0, ALL, now).await;
    let expected = [format!("1-{} replaced", last - 1), format!("{last}-{last} expired")];
    assert_eq!((brief(&window), window.more), (expected.to_vec(), false));
}

async fn messages_are_listed_newest_first(store: &impl DeviceQueueStore) {
    let kitchen = device("kitchen");
    assert_eq!(store.device_messages(&kitchen, None, 9).await.unwrap(), []);
    queue_all(store, &kitchen, 1..=4).await;
    queue_all(store, &device("hall"), [7]).await;
    let sent = window(store, &kitchen, 0, DownRoom { messages: 2, ..ALL }, AT).await;
    acknowledge(store, &kitchen, &sent, 1).await;
    let first = store.device_messages(&kitchen, None, 3).await.unwrap();
    let second = store.device_messages(&kitchen, Some(first[2].number), 3).await.unwrap();
    let all: Vec<_> =
        first.iter().chain(&second).map(|it| (it.id.0, it.status.state, it.bytes)).collect();
    let bytes = message(1).stored_bytes(&kitchen);
    let expected = [
        (4, DownState::Queued, bytes),
        (3, DownState::Queued, bytes),
        (2, DownState::Sent, bytes),
        (1, DownState::Delivered, bytes),
    ];
    assert_eq!(all, expected);
}

async fn a_forgotten_device_loses_what_waits(store: &(impl DeviceQueueStore + DeviceStore)) {
    let kitchen = device("kitchen");
    store.revoke(&kitchen, &cli()).await.unwrap();
    queue_all(store, &kitchen, 1..=3).await;
    let sent = window(store, &kitchen, 0, DownRoom { messages: 1, ..ALL }, AT).await;
    store.cancel_message(&kitchen, Tag(2), AT).await.unwrap();
    store.forget(&kitchen, &cli()).await.unwrap();
    let lost = Some(DownState::Dropped(DropReason::ReRegistered));
    assert_eq!((state(store, &kitchen, 1).await, state(store, &kitchen, 3).await), (lost, lost));
    assert_eq!(store.window(&kitchen, Lane::Normal, 0, ALL, AT).await.unwrap(), None);
    assert_eq!(acknowledge(store, &kitchen, &sent, 1).await, Acknowledged::UnknownStream);
    // Nothing is left of the limits.
    let one = message(4).stored_bytes(&kitchen);
    let limits = DownLimits { messages: 1, bytes: one, total_bytes: one };
    let queued = store.queue_message(&kitchen, message(4), None, limits).await.unwrap();
    assert_eq!(queued, accepted(&[]));
    let next = window(store, &kitchen, 0, ALL, AT).await;
    assert_eq!(brief(&next), ["1: 4"]);
    assert_ne!(next.stream, sent.stream);
}

async fn what_waits_for_all_is_counted(store: &(impl DeviceQueueStore + DeviceStore)) {
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    let bytes = |device: &DeviceId| message(1).stored_bytes(device);
    assert_eq!(store.waiting().await.unwrap(), DownSize::default());
    queue_all(store, &kitchen, [1, 2]).await;
    queue_all(store, &hall, [3]).await;
    let expected = DownSize { messages: 3, bytes: 2 * bytes(&kitchen) + bytes(&hall) };
    assert_eq!(store.waiting().await.unwrap(), expected);
    store.cancel_message(&kitchen, Tag(1), AT).await.unwrap();
    let expected = DownSize { messages: 2, bytes: bytes(&kitchen) + bytes(&hall) };
    assert_eq!(store.waiting().await.unwrap(), expected);
    store.revoke(&hall, &cli()).await.unwrap();
    store.forget(&hall, &cli()).await.unwrap();
    let expected = DownSize { messages: 1, bytes: bytes(&kitchen) };
    assert_eq!(store.waiting().await.unwrap(), expected);
}
