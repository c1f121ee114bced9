//! What every store does with devices.

use std::collections::BTreeMap;

use super::support::{cli, device, within};
use crate::devices::{AccessState, DeviceQuery, DeviceRecord, DeviceStore, ForgetOutcome};
use crate::time::unix_now;

/// Holds a store without devices to the contract of [`DeviceStore`], and to that of its `Epoch`.
pub async fn devices(store: &impl DeviceStore) {
    let epoch = store.epoch();
    seen_and_labelled(store).await;
    pages(store).await;
    standings(store).await;
    forgetting(store).await;
    assert_eq!(store.epoch(), epoch, "a change makes no older store");
}

async fn seen_and_labelled(store: &impl DeviceStore) {
    assert_eq!(store.devices_page(&DeviceQuery::default()).await.unwrap(), []);
    assert_eq!(store.device(&device("a")).await.unwrap(), None);
    assert!(!store.set_label(&device("a"), Some("Pump"), &cli()).await.unwrap());
    store.seen(&device("a"), 0, 20);
    store.seen(&device("a"), 0, 30);
    store.seen(&device("b"), 0, 10);
    let seen = until_seen(store, &[("a", 30), ("b", 10)]).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["a", "b"]);
    // A late note of an earlier time changes nothing.
    store.seen(&device("a"), 0, 25);
    store.seen(&device("b"), 0, 11);
    until_seen(store, &[("a", 30), ("b", 11)]).await;
    assert!(store.set_label(&device("b"), Some("Pump"), &cli()).await.unwrap());
    let record = store.device(&device("b")).await.unwrap().unwrap();
    let expected = DeviceRecord {
        id: device("b"),
        label: Some("Pump".to_owned()),
        first_seen: Some(10),
        last_seen: Some(11),
        generation: 0,
        blocked_at: None,
    };
    assert_eq!(record, expected);
    assert!(store.set_label(&device("b"), None, &cli()).await.unwrap());
    assert_eq!(store.device(&device("b")).await.unwrap().unwrap().label, None);
    let asked = [device("b"), device("unknown"), device("a"), device("b")];
    let known = store.devices_by_id(&asked).await.unwrap();
    assert_eq!(known.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

async fn pages(store: &impl DeviceStore) {
    for (id, label) in
        [("site-a-1", Some("Küche")), ("site-a-2", None), ("site-b-1", Some("Keller"))]
    {
        store.seen(&device(id), 0, 50);
        until_seen(store, &[(id, 50)]).await;
        store.set_label(&device(id), label, &cli()).await.unwrap();
    }
    store.block(&device("site-a-2"), &cli()).await.unwrap();
    let all = DeviceQuery::default;
    for (query, expected) in [
        (all(), &["a", "b", "site-a-1", "site-a-2", "site-b-1"][..]),
        (DeviceQuery { limit: 2, ..all() }, &["a", "b"]),
        (DeviceQuery { limit: 0, ..all() }, &[]),
        (DeviceQuery { after: Some(device("b")), limit: 2, ..all() }, &["site-a-1", "site-a-2"]),
        (DeviceQuery { after: Some(device("ab")), limit: 1, ..all() }, &["b"]),
        (DeviceQuery { after: Some(device("site-b-1")), ..all() }, &[]),
        (scope("site-a-*"), &["site-a-1", "site-a-2"]),
        (scope("*-1"), &["site-a-1", "site-b-1"]),
        (scope("site-a-1"), &["site-a-1"]),
        (scope("nothing*"), &[]),
        (
            DeviceQuery { after: Some(device("site-a-1")), ..scope("site-*") },
            &["site-a-2", "site-b-1"],
        ),
        (DeviceQuery { after: Some(device("b")), ..scope("site-b*") }, &["site-b-1"]),
        (search("KÜCHE"), &["site-a-1"]),
        (search("SITE-B"), &["site-b-1"]),
        (search("ke"), &["site-b-1"]),
        (search("%"), &[]),
        (search(""), &["a", "b", "site-a-1", "site-a-2", "site-b-1"]),
        (DeviceQuery { blocked: Some(true), ..all() }, &["site-a-2"]),
        (DeviceQuery { blocked: Some(false), ..scope("site-a*") }, &["site-a-1"]),
    ] {
        let page = store.devices_page(&query).await.unwrap();
        let ids: Vec<_> = page.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(ids, expected, "{query:?}");
    }
    store.unblock(&device("site-a-2"), &cli()).await.unwrap();
}

fn scope(pattern: &str) -> DeviceQuery {
    DeviceQuery { scope: Some(pattern.parse().unwrap()), ..DeviceQuery::default() }
}

fn search(text: &str) -> DeviceQuery {
    DeviceQuery { search: Some(text.to_owned()), ..DeviceQuery::default() }
}

async fn standings(store: &impl DeviceStore) {
    let before = store.standings_after(0).await.unwrap();
    let known = before.last().map_or(0, |standing| standing.change);
    assert_eq!(store.standings_after(known).await.unwrap(), []);

    let now = unix_now();
    let first = store.revoke(&device("a"), &cli()).await.unwrap();
    assert!(first.generation >= now, "higher than any of which an older copy knows nothing");
    let never_seen = store.revoke(&device("never-seen"), &cli()).await.unwrap();
    let second = store.revoke(&device("a"), &cli()).await.unwrap();
    assert!(0 < first.generation && first.generation < second.generation);
    let all = store.standings_after(known).await.unwrap();
    assert_eq!(all, [never_seen.clone(), second.clone()], "each once, the latest change last");
    assert_eq!(
        store.standings_after(never_seen.change).await.unwrap(),
        std::slice::from_ref(&second)
    );
    assert_eq!(store.standings_after(second.change).await.unwrap(), []);

    let blocked = store.block(&device("a"), &cli()).await.unwrap().unwrap();
    let expected = AccessState { blocked: true, change: blocked.change, ..second.clone() };
    assert_eq!(blocked, expected);
    assert!(blocked.change > second.change);
    assert_eq!(store.block(&device("a"), &cli()).await.unwrap(), None);
    let since = store.device(&device("a")).await.unwrap().unwrap().blocked_at.unwrap();
    assert!((1_735_689_600..1e11 as u64).contains(&since));
    assert_eq!(store.standings_after(second.change).await.unwrap(), std::slice::from_ref(&blocked));
    let unblocked = store.unblock(&device("a"), &cli()).await.unwrap().unwrap();
    assert!(!unblocked.blocked && unblocked.change > blocked.change);
    assert_eq!(store.unblock(&device("a"), &cli()).await.unwrap(), None);
    assert_eq!(store.unblock(&device("unknown"), &cli()).await.unwrap(), None);
    assert_eq!(store.device(&device("unknown")).await.unwrap(), None);
    assert!(store.block(&device("unseen"), &cli()).await.unwrap().is_some());
    assert!(store.device(&device("unseen")).await.unwrap().unwrap().blocked_at.is_some());

    // Being seen takes nothing back.
    store.seen(&device("a"), 0, 40);
    until_seen(store, &[("a", 40)]).await;
    let record = store.device(&device("a")).await.unwrap().unwrap();
    assert_eq!(record.generation, second.generation);
    let after = store.standings_after(unblocked.change).await.unwrap();
    assert_eq!(after.len(), 1, "{after:?}");
}

async fn forgetting(store: &impl DeviceStore) {
    let id = device("passing");
    assert_eq!(store.forget(&id, &cli()).await.unwrap(), ForgetOutcome::Unknown);
    store.seen(&id, 0, 60);
    until_seen(store, &[("passing", 60)]).await;
    store.set_label(&id, Some("Guest"), &cli()).await.unwrap();
    store.block(&id, &cli()).await.unwrap();
    assert_eq!(store.forget(&id, &cli()).await.unwrap(), ForgetOutcome::Blocked);
    store.unblock(&id, &cli()).await.unwrap();
    let ForgetOutcome::Done(standing) = store.forget(&id, &cli()).await.unwrap() else {
        panic!("it is known and not blocked");
    };
    assert!(standing.generation > 0 && !standing.blocked);
    assert_eq!(
        store.standings_after(standing.change - 1).await.unwrap(),
        std::slice::from_ref(&standing)
    );
    assert_eq!(store.device(&id).await.unwrap(), None);
    assert_eq!(store.devices_by_id(std::slice::from_ref(&id)).await.unwrap(), []);
    assert_eq!(store.devices_page(&scope("passing")).await.unwrap(), []);
    assert!(!store.set_label(&id, Some("Guest"), &cli()).await.unwrap());
    assert_eq!(store.forget(&id, &cli()).await.unwrap(), ForgetOutcome::Unknown);

    // What was noted of its former sessions comes late.
    store.seen(&id, standing.generation - 1, 61);
    store.seen(&device("later"), 0, 61);
    until_seen(store, &[("later", 61)]).await;
    assert_eq!(store.device(&id).await.unwrap(), None);
    store.seen(&id, standing.generation, 70);
    until_seen(store, &[("passing", 70)]).await;
    let record = store.device(&id).await.unwrap().unwrap();
    assert_eq!((record.label, record.first_seen), (None, Some(70)));
    assert_eq!(record.generation, standing.generation);
}

/// Waits until the notes are written; they take their time.
async fn until_seen(store: &impl DeviceStore, expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let written = async {
        loop {
            let devices = store.devices_page(&DeviceQuery::default()).await.unwrap();
            let seen: BTreeMap<_, _> = devices
                .into_iter()
                .filter_map(|record| Some((record.id.to_string(), record.last_seen?)))
                .collect();
            if expected.iter().all(|(id, at)| seen.get(*id) == Some(at)) {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    };
    within(written).await
}
