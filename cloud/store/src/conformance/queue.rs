//! The contract of queues.

use std::time::Duration;

use crate::dead_letters::DeadLetter;
use crate::queue::{
    Dropped, QueueBudget, QueueStatus, QueueStore, Reserved, ReservedItem, Room, Settlement,
};
use crate::queue_item::QueueItem;

/// Tests the contract of [`QueueStore`], and of its `Epoch`, on empty stores, which `open` creates.
pub async fn queues<S: QueueStore>(open: impl AsyncFn() -> S) {
    lanes_are_in_order_and_take_turns(&open().await).await;
    a_delayed_lane_delays_no_other(&open().await).await;
    a_reservation_ends_with_its_time_or_when_released(&open().await).await;
    a_reservation_fits_its_item_only(&open().await).await;
    room_is_bounded_in_items_and_bytes(&open().await).await;
    the_oldest_are_dropped_unless_they_are_reserved(&open().await).await;
    dead_letters_are_kept_listed_and_bounded(&open().await).await;
    queues_are_independent_and_removed(&open().await).await;
}

const AMPLE: QueueBudget = QueueBudget { items: u64::MAX, bytes: u64::MAX };

const ALL: Room = Room { items: usize::MAX, bytes: u64::MAX, bigger: false };

fn item(lane: &str, id: &str) -> QueueItem {
    let body = format!("the body of {id} takes \u{20ac} 5");
    QueueItem { lane: lane.into(), id: id.into(), body: body.into(), at: 7 }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn add(store: &impl QueueStore, queue: &str, items: &[(&str, &str)], now: u64) {
    let items = items.iter().map(|(lane, id)| item(lane, id)).collect();
    let added = store.enqueue(queue, items, 0, AMPLE, at(now)).await.unwrap();
    assert_eq!((added.items, added.status.time), (0, at(now)));
}

/// Reserves everything for ten seconds.
async fn reserve(store: &impl QueueStore, now: u64) -> Reserved {
    store.reserve("q", ALL, at(now), at(now + 10)).await.unwrap()
}

fn ids(reserved: &Reserved) -> Vec<&str> {
    reserved.items.iter().map(|reserved| &*reserved.item.id).collect()
}

/// Ends a reservation, and returns what waits then.
async fn settle(
    store: &impl QueueStore,
    of: &ReservedItem,
    settlement: Settlement,
    now: u64,
) -> QueueStatus {
    let settlements = vec![(of.reservation, settlement)];
    store.settle("q", settlements, at(now)).await.unwrap().status
}

async fn lanes_are_in_order_and_take_turns(store: &impl QueueStore) {
    let epoch = store.epoch();
    assert_eq!(store.queue_status("q").await.unwrap(), QueueStatus::default());
    assert_eq!(reserve(store, 1).await, Reserved::default());
    add(store, "q", &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("", "1"), ("a", "a3")], 1).await;
    let sum = |items: &[(&str, &str)]| {
        items.iter().map(|(lane, id)| item(lane, id).stored_bytes()).sum::<u64>()
    };
    let bytes = sum(&[("a", "a1"), ("a", "a2"), ("b", "b1"), ("", "1"), ("a", "a3")]);
    let status = QueueStatus { time: at(1), items: 5, bytes, dropped: 0 };
    assert_eq!(store.queue_status("q").await.unwrap(), status);
    // Only the first of each lane.
    let first = reserve(store, 2).await;
    assert_eq!(ids(&first), ["a1", "b1", "1"]);
    assert_eq!(first.next_due, Some(at(12)), "when the reservations end");
    let head = &first.items[0];
    assert_eq!((&head.item, head.since), (&item("a", "a1"), at(1)));
    assert_eq!((head.attempts, head.failures), (0, 0));
    assert_eq!(reserve(store, 2).await.items, []);

    // What is settled together takes its turn in that order, behind a lane that is ready.
    add(store, "q", &[("c", "c1"), ("b", "b2")], 2).await;
    let done = [&first.items[1], &first.items[0]];
    let done = done.map(|of| (of.reservation, Settlement::Complete)).to_vec();
    let status = store.settle("q", done, at(2)).await.unwrap().status;
    let bytes = sum(&[("a", "a2"), ("", "1"), ("a", "a3"), ("c", "c1"), ("b", "b2")]);
    assert_eq!(status, QueueStatus { time: at(2), items: 5, bytes, dropped: 0 });
    let second = reserve(store, 2).await;
    assert_eq!(ids(&second), ["c1", "b2", "a2"]);
    // A queue that is used up and begins again.
    let mut left = [first.items[2..].to_vec(), second.items].concat();
    while !left.is_empty() {
        for reserved in &left {
            settle(store, reserved, Settlement::Complete, 3).await;
        }
        left = reserve(store, 3).await.items;
    }
    let empty = QueueStatus { time: at(3), items: 0, bytes: 0, dropped: 0 };
    assert_eq!(store.queue_status("q").await.unwrap(), empty);
    assert_eq!(reserve(store, 3).await.next_due, None);
    let late = store.enqueue("q", vec![item("a", "a4")], 0, AMPLE, at(2)).await.unwrap();
    assert_eq!(late.status.time, at(3), "a time before that of the last change");
    let last = store.reserve("q", ALL, at(2), at(13)).await.unwrap();
    assert_eq!((ids(&last), last.items[0].since), (vec!["a4"], at(3)));
    assert_eq!(store.epoch(), epoch, "a change does not replace the store");
}

async fn a_delayed_lane_delays_no_other(store: &impl QueueStore) {
    add(store, "q", &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")], 0).await;
    let first = reserve(store, 0).await;
    let retry = |due, counted| Settlement::RetryAt { due: at(due), counted };
    settle(store, &first.items[0], retry(5, false), 0).await;
    settle(store, &first.items[1], Settlement::Complete, 0).await;
    let second = reserve(store, 4).await;
    assert_eq!((ids(&second), second.next_due), (vec!["b2"], Some(at(5))));
    settle(store, &second.items[0], Settlement::Complete, 4).await;
    for (now, attempts, failures, counted) in [(5, 1, 0, true), (6, 2, 1, true), (7, 3, 2, false)] {
        let again = reserve(store, now).await;
        let [again] = &again.items[..] else { panic!("{again:?}") };
        assert_eq!((&*again.item.id, again.since), ("a1", at(0)));
        assert_eq!((again.attempts, again.failures), (attempts, failures));
        settle(store, again, retry(now + 1, counted), now).await;
    }
    // The next item begins from zero.
    let last = reserve(store, 8).await;
    settle(store, &last.items[0], Settlement::Complete, 8).await;
    let next = reserve(store, 8).await;
    assert_eq!(ids(&next), ["a2"]);
    assert_eq!((next.items[0].attempts, next.items[0].failures), (0, 0));
}

async fn a_reservation_ends_with_its_time_or_when_released(store: &impl QueueStore) {
    add(store, "q", &[("a", "a1"), ("b", "b1")], 0).await;
    let first = reserve(store, 0).await;
    assert_eq!(reserve(store, 9).await.items, []);
    let again = reserve(store, 10).await;
    assert_eq!(ids(&again), ["a1", "b1"]);
    assert_eq!(again.items[0].attempts, 1);
    // Too late.
    let status = settle(store, &first.items[0], Settlement::Complete, 11).await;
    assert_eq!(status.items, 2);
    let wait = Settlement::RetryAt { due: at(1000), counted: false };
    settle(store, &again.items[1], wait, 11).await;
    // As after a crash: both the reserved one and the one that waits.
    assert_eq!(store.release("q", at(11)).await.unwrap(), 2);
    assert_eq!(store.release("none", at(11)).await.unwrap(), 0);
    let released = reserve(store, 11).await;
    assert_eq!(ids(&released), ["a1", "b1"]);
    assert_eq!(released.items[1].attempts, 2);
    assert_eq!(settle(store, &again.items[0], Settlement::Complete, 11).await.items, 2);
    assert_eq!(settle(store, &released.items[0], Settlement::Complete, 11).await.items, 1);
}

async fn a_reservation_fits_its_item_only(store: &impl QueueStore) {
    add(store, "q", &[("a", "a1"), ("a", "a2")], 0).await;
    add(store, "other", &[("a", "x")], 0).await;
    let first = reserve(store, 0).await;
    let done = (first.items[0].reservation, Settlement::Complete);
    // It is of another queue.
    store.settle("other", vec![done.clone()], at(1)).await.unwrap();
    assert_eq!(store.queue_status("other").await.unwrap().items, 1);
    // Twice.
    let settled = store.settle("q", vec![done.clone(), done], at(1)).await.unwrap();
    assert_eq!(settled.status.items, 1);
    assert_eq!(ids(&reserve(store, 1).await), ["a2"]);
}

async fn room_is_bounded_in_items_and_bytes(store: &impl QueueStore) {
    let lanes = ["a", "b", "c", "d"].map(|lane| (lane, lane));
    add(store, "q", &lanes, 0).await;
    let one = item("a", "a").stored_bytes();
    for (items, bytes, bigger, expected) in [
        (0, u64::MAX, true, vec![]),
        (1, u64::MAX, false, vec!["a"]),
        (4, one - 1, false, vec![]),
        (4, one - 1, true, vec!["b"]),
        (4, 2 * one + 1, false, vec!["c", "d"]),
    ] {
        let room = Room { items, bytes, bigger };
        let reserved = store.reserve("q", room, at(1), at(9)).await.unwrap();
        assert_eq!(ids(&reserved), expected, "{room:?}");
        let is_more = reserved.next_due.unwrap() <= at(1);
        assert_eq!(is_more, bytes != 2 * one + 1, "{room:?}: whether others are ready");
    }
}

async fn the_oldest_are_dropped_unless_they_are_reserved(store: &impl QueueStore) {
    add(store, "q", &[("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2")], 0).await;
    let only = Room { items: 1, ..ALL };
    let first = store.reserve("q", only, at(0), at(9)).await.unwrap();
    let one = item("a", "a1").stored_bytes();
    let budget = QueueBudget { items: 3, bytes: 4 * one };
    let Dropped { items, status } = store.drop_oldest("q", budget, at(1)).await.unwrap();
    assert_eq!((items, status.items, status.bytes), (1, 3, 3 * one));
    assert_eq!(status.dropped, 1);
    // b1 is gone: a1 is reserved, and a2 follows it.
    let budget = QueueBudget { items: 9, bytes: 3 * one };
    // Three were lost before they were added.
    let added = store.enqueue("q", vec![item("c", "c1")], 3, budget, at(1)).await.unwrap();
    assert_eq!((added.items, added.status.items, added.status.bytes), (1, 3, 3 * one));
    assert_eq!(added.status.dropped, 5);
    let reserved = reserve(store, 1).await;
    assert_eq!((ids(&reserved), reserved.dropped), (vec!["b2", "c1"], 5));
    // One that is given up.
    let dropped = settle(store, &first.items[0], Settlement::Drop, 1).await.dropped;
    assert_eq!(dropped, 6);
    assert_eq!(reserve(store, 1).await.items, [], "nothing is left of the lane");
    let none = QueueBudget { items: 0, bytes: 0 };
    assert_eq!(store.drop_oldest("q", none, at(1)).await.unwrap().items, 0, "both are reserved");
    store.release("q", at(2)).await.unwrap();
    let dropped = store.drop_oldest("q", none, at(2)).await.unwrap();
    assert_eq!((dropped.items, dropped.status.items, dropped.status.bytes), (2, 0, 0));
    // The failures of a dropped item are not those of the next one, whose lane still waits.
    add(store, "q", &[("a", "a3"), ("a", "a4")], 2).await;
    let reserved = reserve(store, 2).await;
    settle(store, &reserved.items[0], Settlement::RetryAt { due: at(5), counted: true }, 2).await;
    let one = QueueBudget { items: 1, bytes: u64::MAX };
    assert_eq!(store.drop_oldest("q", one, at(2)).await.unwrap().items, 1);
    assert_eq!(reserve(store, 4).await.items, []);
    let next = reserve(store, 5).await;
    assert_eq!((ids(&next), next.items[0].attempts), (vec!["a4"], 1));
    assert_eq!(next.items[0].failures, 0);
}

async fn dead_letters_are_kept_listed_and_bounded(store: &impl QueueStore) {
    const MORE: u64 = 3;
    let numbers = 0..DeadLetter::MAX_PER_LANE + MORE;
    let items = numbers.map(|number| item("a", &number.to_string())).collect();
    store.enqueue("q", items, 0, AMPLE, at(0)).await.unwrap();
    add(store, "q", &[("b", "b1"), ("b", "b2")], 0).await;
    let mut dropped = 0;
    for number in 0..DeadLetter::MAX_PER_LANE + MORE {
        let reserved = reserve(store, number).await;
        let park = |of: &ReservedItem| {
            let reason = format!("no {}", of.item.id);
            (of.reservation, Settlement::Park { reason, at: 1000 + number })
        };
        let is_first = |of: &&ReservedItem| of.item.lane == "a" || number == 0;
        let parked = reserved.items.iter().filter(is_first).map(park).collect();
        dropped += store.settle("q", parked, at(number)).await.unwrap().dead_letters_dropped;
    }
    assert_eq!(dropped, MORE, "the other lane loses none");
    assert_eq!(store.queue_status("q").await.unwrap().items, 1, "b2, which is reserved");
    let (mut letters, mut after) = (Vec::new(), 0);
    loop {
        let page = store.dead_letters("q", after, 40).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.number;
        letters.extend(page);
    }
    assert_eq!(letters.len() as u64, DeadLetter::MAX_PER_LANE + 1);
    assert!(letters.windows(2).all(|pair| pair[0].number < pair[1].number));
    let DeadLetter { item: first, rejected_at, reason, .. } = &letters[0];
    assert_eq!((first, *rejected_at, &**reason), (&item("b", "b1"), 1000, "no b1"));
    assert_eq!((&*letters[1].item.id, letters[1].rejected_at), ("3", 1003));
    assert_eq!(store.dead_letters("other", 0, 9).await.unwrap(), []);

    assert_eq!(store.expire_dead_letters(1003 + DeadLetter::MAX_AGE).await.unwrap(), 1);
    assert_eq!(store.expire_dead_letters(1003 + DeadLetter::MAX_AGE).await.unwrap(), 0);
    assert_eq!(store.dead_letters("q", 0, 1).await.unwrap()[0].item.id, "3");
}

async fn queues_are_independent_and_removed(store: &impl QueueStore) {
    for queue in ["q", "webhook crm", "webhook old", "webhook older", "webhooks"] {
        add(store, queue, &[("a", "a1"), ("a", "a2"), ("b", "b1")], 1).await;
        let reserved = store.reserve(queue, ALL, at(1), at(9)).await.unwrap();
        assert_eq!(ids(&reserved), ["a1", "b1"], "{queue}");
        let park = Settlement::Park { reason: "no".into(), at: 1 };
        let parked = vec![(reserved.items[1].reservation, park)];
        assert_eq!(store.settle(queue, parked, at(1)).await.unwrap().status.items, 2);
    }
    let kept = ["webhook crm".to_owned(), "webhook new".to_owned()];
    assert_eq!(store.keep_only_queues("webhook ", &kept).await.unwrap(), 4);
    assert_eq!(store.keep_only_queues("webhook ", &kept).await.unwrap(), 0);
    for (queue, left) in [("q", 2), ("webhook crm", 2), ("webhook old", 0), ("webhooks", 2)] {
        assert_eq!(store.queue_status(queue).await.unwrap().items, left, "{queue}");
        let letters = store.dead_letters(queue, 0, 9).await.unwrap();
        assert_eq!(letters.len() as u64, left / 2, "{queue}");
    }
    add(store, "webhook old", &[("a", "a9")], 1).await;
    let reserved = store.reserve("webhook old", ALL, at(1), at(9)).await.unwrap();
    assert_eq!(ids(&reserved), ["a9"]);
}
