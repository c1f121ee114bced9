//! What every store has to do, whatever it is kept on.

use std::collections::BTreeMap;
use std::time::Duration;

use fedecks_protocol::DeviceId;

use super::{Revocation, Store, StoreError};

/// Holds an empty store to the trait's contract.
pub(crate) async fn check(store: impl Store) {
    accounts(&store).await;
    devices(&store).await;
    revocations(&store).await;
}

fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

async fn accounts(store: &impl Store) {
    assert_eq!(store.accounts().await.unwrap(), []);
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    store.add_account("marvin", "first").await.unwrap();
    store.add_account("arthur", "other").await.unwrap();
    let again = store.add_account("marvin", "second").await;
    assert!(matches!(again, Err(StoreError::Exists { name }) if name == "marvin"));
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("first"));
    let accounts = store.accounts().await.unwrap();
    let names: Vec<_> = accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["arthur", "marvin"]);
    // 2025-01-01: in seconds, and not in milliseconds.
    assert!(
        accounts.iter().all(|account| (1_735_689_600..1e11 as u64).contains(&account.created_at))
    );
    assert!(store.remove_account("marvin").await.unwrap());
    assert!(!store.remove_account("marvin").await.unwrap());
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    store.add_account("marvin", "third").await.unwrap();
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("third"));
}

async fn devices(store: &impl Store) {
    assert_eq!(store.devices().await.unwrap(), []);
    assert_eq!(store.device(&device("a")).await.unwrap(), None);
    store.seen(&device("a"), 20);
    store.seen(&device("a"), 30);
    store.seen(&device("b"), 10);
    let seen = until_seen(store, &[("a", 30), ("b", 10)]).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["a", "b"]);
    // A late note of an earlier time changes nothing.
    store.seen(&device("a"), 25);
    store.seen(&device("b"), 11);
    until_seen(store, &[("a", 30), ("b", 11)]).await;
    let record = store.device(&device("b")).await.unwrap().unwrap();
    assert_eq!((record.first_seen, record.last_seen), (Some(10), Some(11)));
    assert_eq!(record.generation, 0);
}

async fn revocations(store: &impl Store) {
    assert_eq!(store.revocations_after(0).await.unwrap(), []);
    assert_eq!(store.revoke(&device("a")).await.unwrap(), 1);
    assert_eq!(store.revoke(&device("never-seen")).await.unwrap(), 1);
    assert_eq!(store.revoke(&device("a")).await.unwrap(), 2);
    let all = store.revocations_after(0).await.unwrap();
    let told: Vec<_> = all.iter().map(|told| (told.device.as_str(), told.generation)).collect();
    assert_eq!(told, [("never-seen", 1), ("a", 2)]);
    let Revocation { change, .. } = all[0];
    assert_eq!(store.revocations_after(change).await.unwrap(), all[1..]);
    assert_eq!(store.revocations_after(all[1].change).await.unwrap(), []);
    // Being seen takes no revocation back.
    store.seen(&device("a"), 40);
    until_seen(store, &[("a", 40)]).await;
    assert_eq!(store.device(&device("a")).await.unwrap().unwrap().generation, 2);
    assert_eq!(store.revocations_after(0).await.unwrap(), all);
}

/// Waits until the notes are written; they take their time.
async fn until_seen(store: &impl Store, expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let written = async {
        loop {
            let devices = store.devices().await.unwrap();
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
    tokio::time::timeout(Duration::from_secs(10), written).await.expect("the notes get written")
}
