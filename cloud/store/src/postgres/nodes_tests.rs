//! Tests of two stores on one database, as of two servers.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::store::{PostgresOptions, PostgresStore};
use super::test_server::TestServer;
use crate::accounts::AccountStore;
use crate::audit::{AuditQuery, AuditStore};
use crate::claims::{ClaimStore, NewClaim};
use crate::conformance::support::{cli, device, until};
use crate::devices::{DeviceQuery, DeviceRecord, DeviceStore};
use crate::known_logins::{KnownLogin, KnownLoginStore};
use crate::registrations::{
    RegistrationNonce, RegistrationOutcome, RegistrationProof, RegistrationRequest,
    RegistrationStore,
};
use crate::stats::StoreMonitor;

async fn two_stores(server: &TestServer) -> [PostgresStore; 2] {
    let url = server.url(&server.database().await);
    let open = || PostgresStore::open(&url, PostgresOptions::default());
    // At the same time, so that both want to make the tables.
    let (one, other) = tokio::join!(open(), open());
    [one.unwrap(), other.unwrap()]
}

#[tokio::test]
async fn a_claim_registers_as_many_devices_as_it_has_uses() {
    let Some(server) = TestServer::shared() else { return };
    let stores = two_stores(&server).await;
    let claim = NewClaim { uses: 10, ..NewClaim::new("gw-*".parse().unwrap()) };
    stores[0].add_claims(std::slice::from_ref(&claim), &cli()).await.unwrap();
    let proof = RegistrationProof::from(&claim.secret);
    // Each of 25 devices asks both.
    let requests: Vec<_> = (0..50_u8)
        .map(|number| RegistrationRequest {
            device: device(&format!("gw-{}", number / 2)),
            proof: proof.clone(),
            nonce: Some(RegistrationNonce([number / 2; 16])),
            address: None,
            at: 1_800_000_000,
            in_use: false,
            may_reregister: false,
        })
        .collect();
    let calls = requests.iter().enumerate();
    let outcomes = join_all(calls.map(|(number, it)| stores[number % 2].register(it))).await;
    let count = |is: fn(&RegistrationOutcome) -> bool| {
        outcomes.iter().filter(|outcome| is(outcome.as_ref().unwrap())).count()
    };
    let new = |it: &_| matches!(it, RegistrationOutcome::Registered { returned: false, .. });
    assert_eq!(count(new), 10, "{outcomes:?}");
    assert_eq!(count(|it| matches!(it, RegistrationOutcome::Repeated { .. })), 10);
    assert_eq!(stores[1].claim(claim.id).await.unwrap().unwrap().used, 10);
    let devices = stores[1].devices_page(&DeviceQuery::default()).await.unwrap();
    assert_eq!(devices.len(), 10);
}

#[tokio::test]
async fn who_follows_the_changes_of_access_misses_none() {
    let Some(server) = TestServer::shared() else { return };
    let stores = two_stores(&server).await;
    let ids: Vec<_> = (0..60).map(|number| device(&format!("d-{number}"))).collect();
    let by = cli();
    let changes = async {
        let calls = ids.iter().enumerate();
        let calls = calls.map(|(number, id)| stores[number % 2].block(id, &by));
        join_all(calls).await.into_iter().for_each(|it| assert!(it.unwrap().is_some()));
    };
    let follow = async {
        let (mut seen, mut position) = (BTreeSet::new(), 0);
        while seen.len() < ids.len() {
            for state in stores[0].access_states_after(position).await.unwrap() {
                assert!(state.change > position, "a number never goes back");
                position = state.change;
                assert!(seen.insert(state.device), "each is changed once");
            }
        }
        position
    };
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(60), follow);
    let ((), position) = tokio::join!(changes, waiting);
    assert_eq!(position.expect("no change is missed"), 60, "numbers without gaps");
    let log = stores[1].audit_page(&AuditQuery::default()).await.unwrap();
    let numbers: Vec<_> = log.iter().rev().map(|line| line.sequence).collect();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>(), "lines without gaps");
}

#[tokio::test]
async fn both_write_notes_about_the_same_devices() {
    let Some(server) = TestServer::shared() else { return };
    let stores = two_stores(&server).await;
    stores[0].add_account("marvin", "hash", &cli()).await.unwrap();
    let ids: Vec<_> = (0..200).map(|number| device(&format!("d-{number:03}"))).collect();
    for round in 1..=5 {
        for (place, store) in stores.iter().enumerate() {
            for id in &ids {
                store.seen(id, 0, 1000 + round * 10 + place as u64, false);
            }
            let (address, account) = ([192, 0, 2, place as u8].into(), "marvin".to_owned());
            store.login_succeeded(KnownLogin { address, account, at: round });
        }
        for store in &stores {
            until(async || (store.stats().waiting == 0).then_some(())).await;
        }
    }
    let devices = stores[0].devices_page(&DeviceQuery::default()).await.unwrap();
    assert_eq!(devices.len(), ids.len());
    let others =
        devices.iter().filter(|it| (it.first_seen, it.last_seen) != (Some(1010), Some(1051)));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&DeviceRecord>::new());
    assert_eq!(stores[0].known_logins(10).await.unwrap().len(), 2);
}
