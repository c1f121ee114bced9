//! The contract of devices.

use std::collections::BTreeMap;

use super::support::{cli, device, is_recent, until};
use crate::devices::{
    AccessState, DeviceCounts, DeviceQuery, DeviceRecord, DeviceStore, ForgetOutcome,
};
use crate::time::unix_now;

/// Tests the contract of [`DeviceStore`], and of its `Epoch`, on a store without devices.
pub async fn devices(store: &impl DeviceStore) {
    let epoch = store.epoch();
    seen_and_labelled(store).await;
    pages(store).await;
    access(store).await;
    forgetting(store).await;
    assert_eq!(store.epoch(), epoch, "a change does not replace the store");
}

async fn seen_and_labelled(store: &impl DeviceStore) {
    assert_eq!(store.devices_page(&DeviceQuery::default()).await.unwrap(), []);
    assert_eq!(store.device(&device("a")).await.unwrap(), None);
    assert!(!store.set_label(&device("a"), Some("Pump"), &cli()).await.unwrap());
    store.seen(&device("a"), 0, 20, false);
    store.seen(&device("a"), 0, 30, false);
    store.seen(&device("b"), 0, 10, false);
    let seen = until_seen(store, &[("a", 30), ("b", 10)]).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["a", "b"]);
    // A late note of an earlier time does not change the latest.
    store.seen(&device("a"), 0, 25, false);
    store.seen(&device("b"), 0, 11, false);
    until_seen(store, &[("a", 30), ("b", 11)]).await;
    // Except for one that a clock has noted while it was ahead.
    store.seen(&device("a"), 0, 40 * 24 * 3600, false);
    until_seen(store, &[("a", 40 * 24 * 3600)]).await;
    store.seen(&device("a"), 0, 30, false);
    until_seen(store, &[("a", 30)]).await;
    assert!(store.set_label(&device("b"), Some("Pump"), &cli()).await.unwrap());
    let record = store.device(&device("b")).await.unwrap().unwrap();
    let expected = DeviceRecord {
        label: Some("Pump".to_owned()),
        first_seen: Some(10),
        last_seen: Some(11),
        ..DeviceRecord::new(device("b"))
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
        store.seen(&device(id), 0, 50, false);
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
        (search("üch"), &["site-a-1"]),
        (search("-1Küche"), &[]),
        (search("1\u{1f}k"), &[]),
        (search("\0"), &[]),
        (search("%"), &[]),
        (search(""), &["a", "b", "site-a-1", "site-a-2", "site-b-1"]),
        (DeviceQuery { blocked: Some(true), ..all() }, &["site-a-2"]),
        (DeviceQuery { blocked: Some(false), ..scope("site-a*") }, &["site-a-1"]),
        (DeviceQuery { blocked: Some(true), ..search("SITE") }, &["site-a-2"]),
        (DeviceQuery { after: Some(device("site-a-1")), limit: 1, ..search("e") }, &["site-a-2"]),
    ] {
        let page = store.devices_page(&query).await.unwrap();
        let ids: Vec<_> = page.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(ids, expected, "{query:?}");
    }
    for (pattern, known, blocked) in [
        (None, 5, 1),
        (Some("*"), 5, 1),
        (Some("site-a-*"), 2, 1),
        (Some("site-a-1"), 1, 0),
        (Some("*-2"), 1, 1),
        (Some("s*-1"), 2, 0),
        (Some("nothing*"), 0, 0),
    ] {
        let scope = pattern.map(|pattern| pattern.parse().unwrap());
        let counts = store.device_counts(scope.as_ref()).await.unwrap();
        assert_eq!(counts, DeviceCounts { known, blocked }, "{pattern:?}");
    }
    store.unblock(&device("site-a-2"), &cli()).await.unwrap();
    let counts = store.device_counts(None).await.unwrap();
    assert_eq!(counts, DeviceCounts { known: 5, blocked: 0 });
    // Characters whose lower case is longer, or another one at the end of a word.
    store.set_label(&device("site-a-1"), Some("İÖ ΟΔΟΣ"), &cli()).await.unwrap();
    for (text, expected) in [("küche", None), ("i̇ö", Some("site-a-1")), ("οδοσ", None)] {
        let page = store.devices_page(&search(text)).await.unwrap();
        assert_eq!(page.first().map(|record| record.id.as_str()), expected, "{text}");
    }
    for text in ["ΟΔΟΣ", "οδος"] {
        assert_eq!(store.devices_page(&search(text)).await.unwrap().len(), 1, "{text}");
    }
}

fn scope(pattern: &str) -> DeviceQuery {
    DeviceQuery { scope: Some(pattern.parse().unwrap()), ..DeviceQuery::default() }
}

fn search(text: &str) -> DeviceQuery {
    DeviceQuery { search: Some(text.to_owned()), ..DeviceQuery::default() }
}

async fn access(store: &impl DeviceStore) {
    let (by, a) = (cli(), device("a"));
    let after = async |change| store.access_states_after(change).await.unwrap();
    let known = after(0).await.last().map_or(0, |state| state.change);
    assert_eq!(after(known).await, []);

    let now = unix_now();
    let first = store.revoke(&a, &by).await.unwrap();
    assert!(first.generation >= now, "higher than any that an older copy knows");
    let never_seen = store.revoke(&device("never-seen"), &by).await.unwrap();
    let second = store.revoke(&a, &by).await.unwrap();
    assert!(0 < first.generation && first.generation < second.generation);
    let both = [never_seen.clone(), second.clone()];
    assert_eq!(after(known).await, both, "each once, the latest change last");
    assert_eq!(after(never_seen.change).await, std::slice::from_ref(&second));
    assert_eq!(after(second.change).await, []);

    let blocked = store.block(&a, &by).await.unwrap().unwrap();
    let expected = AccessState { blocked: true, change: blocked.change, ..second.clone() };
    assert_eq!(blocked, expected);
    assert!(blocked.change > second.change);
    assert_eq!(store.block(&a, &by).await.unwrap(), None);
    assert!(is_recent(store.device(&a).await.unwrap().unwrap().blocked_at.unwrap()));
    assert_eq!(after(second.change).await, std::slice::from_ref(&blocked));
    let unblocked = store.unblock(&a, &by).await.unwrap().unwrap();
    assert!(!unblocked.blocked && unblocked.change > blocked.change);
    assert_eq!(store.unblock(&a, &by).await.unwrap(), None);
    assert_eq!(store.unblock(&device("unknown"), &by).await.unwrap(), None);
    assert_eq!(store.device(&device("unknown")).await.unwrap(), None);
    assert!(store.block(&device("unseen"), &by).await.unwrap().is_some());
    assert!(store.device(&device("unseen")).await.unwrap().unwrap().blocked_at.is_some());

    // Being seen changes no access.
    store.seen(&a, 0, 40, false);
    until_seen(store, &[("a", 40)]).await;
    assert_eq!(store.device(&a).await.unwrap().unwrap().generation, second.generation);
    assert_eq!(after(unblocked.change).await.len(), 1);
}

async fn forgetting(store: &impl DeviceStore) {
    let (by, id) = (cli(), device("passing"));
    assert_eq!(store.forget(&id, &by).await.unwrap(), ForgetOutcome::Unknown);
    store.seen(&id, 0, 60, false);
    until_seen(store, &[("passing", 60)]).await;
    store.set_label(&id, Some("Guest"), &by).await.unwrap();
    store.block(&id, &by).await.unwrap();
    assert_eq!(store.forget(&id, &by).await.unwrap(), ForgetOutcome::Blocked);
    store.unblock(&id, &by).await.unwrap();
    let ForgetOutcome::Done(forgotten) = store.forget(&id, &by).await.unwrap() else {
        panic!("it is known and not blocked");
    };
    assert!(forgotten.generation > 0 && !forgotten.blocked);
    let changed = store.access_states_after(forgotten.change - 1).await.unwrap();
    assert_eq!(changed, std::slice::from_ref(&forgotten));
    assert_eq!(store.device(&id).await.unwrap(), None);
    assert_eq!(store.devices_by_id(std::slice::from_ref(&id)).await.unwrap(), []);
    for query in [scope("passing"), search("passing"), search("guest")] {
        assert_eq!(store.devices_page(&query).await.unwrap(), [], "{query:?}");
    }
    let scope = scope("passing").scope;
    assert_eq!(store.device_counts(scope.as_ref()).await.unwrap(), DeviceCounts::default());
    assert!(!store.set_label(&id, Some("Guest"), &by).await.unwrap());
    assert_eq!(store.forget(&id, &by).await.unwrap(), ForgetOutcome::Unknown);

    // A late note of an earlier session.
    store.seen(&id, forgotten.generation - 1, 61, false);
    store.seen(&device("later"), 0, 61, false);
    until_seen(store, &[("later", 61)]).await;
    assert_eq!(store.device(&id).await.unwrap(), None);
    store.seen(&id, forgotten.generation, 70, false);
    until_seen(store, &[("passing", 70)]).await;
    let record = store.device(&id).await.unwrap().unwrap();
    assert_eq!((record.label, record.first_seen), (None, Some(70)));
    assert_eq!(record.generation, forgotten.generation);
}

/// Waits until these notes are written. Returns when each device was seen last.
async fn until_seen(store: &impl DeviceStore, expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    until(async || {
        let devices = store.devices_page(&DeviceQuery::default()).await.unwrap();
        let seen: BTreeMap<_, _> = devices
            .into_iter()
            .filter_map(|record| Some((record.id.to_string(), record.last_seen?)))
            .collect();
        expected.iter().all(|(id, at)| seen.get(*id) == Some(at)).then_some(seen)
    })
    .await
}
