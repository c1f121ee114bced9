//! What every store has to do, whatever it is kept on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is run by tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use fedecks_protocol::DeviceId;

use crate::api_tokens::{ApiSecret, NewApiToken, Role};
use crate::audit::{Actor, AuditAction, AuditEntry, AuditQuery};
use crate::devices::{DeviceQuery, DeviceRecord, Forgotten, Standing};
use crate::error::StoreError;
use crate::store::Store;

/// Holds an empty store to the trait's contract.
pub async fn check(store: impl Store) {
    accounts(&store).await;
    devices(&store).await;
    pages(&store).await;
    standings(&store).await;
    forgetting(&store).await;
    api_tokens(&store).await;
    audit(&store).await;
}

fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

fn cli() -> Actor {
    Actor::cli()
}

async fn accounts(store: &impl Store) {
    assert_eq!(store.accounts().await.unwrap(), []);
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    store.add_account("marvin", "first", &cli()).await.unwrap();
    store.add_account("arthur", "other", &cli()).await.unwrap();
    let again = store.add_account("marvin", "second", &cli()).await;
    assert!(matches!(again, Err(StoreError::Exists { name, .. }) if name == "marvin"));
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("first"));
    let accounts = store.accounts().await.unwrap();
    let names: Vec<_> = accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["arthur", "marvin"]);
    // 2025-01-01: in seconds, and not in milliseconds.
    assert!(
        accounts.iter().all(|account| (1_735_689_600..1e11 as u64).contains(&account.created_at))
    );
    assert!(store.remove_account("marvin", &cli()).await.unwrap());
    assert!(!store.remove_account("marvin", &cli()).await.unwrap());
    assert_eq!(store.password_hash("marvin").await.unwrap(), None);
    store.add_account("marvin", "third", &cli()).await.unwrap();
    assert_eq!(store.password_hash("marvin").await.unwrap().as_deref(), Some("third"));
}

async fn devices(store: &impl Store) {
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

async fn pages(store: &impl Store) {
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

async fn standings(store: &impl Store) {
    let before = store.standings_after(0).await.unwrap();
    let known = before.last().map_or(0, |standing| standing.change);
    assert_eq!(store.standings_after(known).await.unwrap(), []);

    let now = crate::time::unix_now();
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
    let expected = Standing { blocked: true, change: blocked.change, ..second.clone() };
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

async fn forgetting(store: &impl Store) {
    let id = device("passing");
    assert_eq!(store.forget(&id, &cli()).await.unwrap(), Forgotten::Unknown);
    store.seen(&id, 0, 60);
    until_seen(store, &[("passing", 60)]).await;
    store.set_label(&id, Some("Guest"), &cli()).await.unwrap();
    store.block(&id, &cli()).await.unwrap();
    assert_eq!(store.forget(&id, &cli()).await.unwrap(), Forgotten::Blocked);
    store.unblock(&id, &cli()).await.unwrap();
    let Forgotten::Done(standing) = store.forget(&id, &cli()).await.unwrap() else {
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
    assert_eq!(store.forget(&id, &cli()).await.unwrap(), Forgotten::Unknown);

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

async fn api_tokens(store: &impl Store) {
    assert_eq!(store.api_tokens().await.unwrap(), []);
    let token = NewApiToken {
        name: "ci".to_owned(),
        secret: ApiSecret::generate(),
        roles: [Role::Read, Role::Send].into_iter().collect(),
        devices: Some("site-a-*".parse().unwrap()),
        expires_at: Some(2_000_000_000),
    };
    store.add_api_token(&token, &cli()).await.unwrap();
    let again = store.add_api_token(&token, &cli()).await;
    assert!(matches!(again, Err(StoreError::Exists { name, .. }) if name == "ci"));
    let other = NewApiToken {
        name: "admin".to_owned(),
        secret: ApiSecret::generate(),
        roles: [Role::Admin].into_iter().collect(),
        devices: None,
        expires_at: None,
    };
    store.add_api_token(&other, &cli()).await.unwrap();
    store.api_token_used("ci", 80);
    store.api_token_used("gone", 80);
    let used = async {
        loop {
            let tokens = store.api_tokens().await.unwrap();
            if tokens[1].last_used.is_some() {
                return tokens;
            }
            tokio::task::yield_now().await;
        }
    };
    let tokens = within(used).await;
    let [admin, ci] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!((admin.name.as_str(), admin.last_used), ("admin", None));
    assert_eq!((ci.roles, ci.last_used), (token.roles, Some(80)));
    assert_eq!((ci.devices.clone(), ci.expires_at), (token.devices, token.expires_at));
    assert_eq!(ci.hash, ApiSecret::hash_of(token.secret.expose()));
    assert!(store.revoke_api_token("ci", &cli()).await.unwrap());
    assert!(!store.revoke_api_token("ci", &cli()).await.unwrap());
    assert_eq!(store.api_tokens().await.unwrap().len(), 1);
}

async fn audit(store: &impl Store) {
    let all = store.audit_page(&AuditQuery::default()).await.unwrap();
    let oldest = all.last().unwrap();
    assert_eq!(oldest.action, AuditAction::AccountAdded);
    assert_eq!((oldest.by.as_str(), oldest.detail.as_deref()), ("cli", Some("marvin")));
    assert!((1_735_689_600..1e11 as u64).contains(&oldest.at));
    assert!(all.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
    for record in &all {
        let detail = record.detail.as_deref().unwrap_or_default();
        assert!(!detail.contains("fdk_"), "{record:?}");
    }

    let of_device = AuditQuery { device: Some(device("passing")), ..AuditQuery::default() };
    let page = store.audit_page(&of_device).await.unwrap();
    let actions: Vec<_> = page.iter().map(|record| record.action).collect();
    assert_eq!(
        actions,
        [
            AuditAction::DeviceForgotten,
            AuditAction::DeviceUnblocked,
            AuditAction::DeviceBlocked,
            AuditAction::DeviceLabelled,
        ],
        "what changed nothing is not told"
    );

    let by = Actor::token("ci");
    store.audit_later(AuditEntry {
        at: 90,
        by,
        action: AuditAction::MessageSent,
        device: Some(device("passing")),
        detail: Some("x".repeat(1000)),
    });
    let written = async {
        loop {
            let one = AuditQuery { limit: 1, ..of_device.clone() };
            let latest = store.audit_page(&one).await.unwrap().remove(0);
            if latest.action == AuditAction::MessageSent {
                return latest;
            }
            tokio::task::yield_now().await;
        }
    };
    let latest = within(written).await;
    assert_eq!((latest.by.as_str(), latest.at), ("token:ci", 90));
    assert_eq!(latest.detail.unwrap().len(), 256);
    let before = AuditQuery { before: Some(latest.sequence), ..of_device.clone() };
    assert_eq!(store.audit_page(&before).await.unwrap(), page);
}

/// Waits until the notes are written; they take their time.
async fn until_seen(store: &impl Store, expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
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

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("the notes get written")
}
