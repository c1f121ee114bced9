//! Tests of many calls at once: what a full queue refuses, and what overtakes what.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::calls::QUEUE_LENGTH;
use super::store::{MAX_CONCURRENT, SqliteStore};
use super::tests::{devices, flushed, new_store};
use crate::accounts::AccountStore;
use crate::audit::{AuditAction, AuditQuery, AuditStore};
use crate::boxed::StoreFuture;
use crate::conformance::support::{cli, device};
use crate::devices::DeviceStore;
use crate::error::StoreError;
use crate::queue::{QueueBudget, QueueStore};
use crate::queue_item::QueueItem;

/// Keeps the thread busy, before what is queued later, until something is sent.
fn hold(store: &SqliteStore) -> (StoreFuture<'_, ()>, Sender<()>) {
    let (release, gate) = channel();
    let held = store.read_first(move |_| {
        gate.recv().unwrap();
        Ok(())
    });
    (held, release)
}

/// What `sql` counts when it is a login's turn.
fn login<'a>(store: &'a SqliteStore, sql: &'static str) -> StoreFuture<'a, usize> {
    store.read_for_login(move |database| database.query_row(sql, [], |row| row.get(0)))
}

/// The output of `critical`, all of whose calls are queued after those of `flood`.
async fn overtaking<T>(
    store: &SqliteStore,
    flood: impl Iterator<Item = impl Future<Output = Result<(), StoreError>>>,
    critical: impl Future<Output = Result<T, StoreError>>,
) -> T {
    let (held, release) = hold(store);
    let critical = async {
        let mut critical = std::pin::pin!(critical);
        assert!(critical.as_mut().now_or_never().is_none());
        release.send(()).unwrap();
        critical.await.unwrap()
    };
    let (held, flooded, output) = tokio::join!(held, join_all(flood), critical);
    held.unwrap();
    flooded.into_iter().for_each(Result::unwrap);
    output
}

#[tokio::test]
async fn a_full_queue_refuses_calls() {
    let store = SqliteStore::in_memory().unwrap();
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (started, start) = oneshot::channel();
    let mut started = Some(started);
    let blocker = store.read(move |_| {
        started.take().unwrap().send(()).unwrap();
        gate.recv().unwrap();
        Ok(())
    });
    let others = async {
        start.await.unwrap();
        // A call that finds the queue full is refused before the first in it is answered.
        let calls = (0..=QUEUE_LENGTH).map(|_| async {
            let answer = store.read_first(|_| Ok(())).await;
            if answer.is_err() {
                release.send(()).unwrap();
            }
            answer
        });
        join_all(calls).await
    };
    let (blocked, answers) = tokio::join!(blocker, others);
    blocked.unwrap();
    let refused = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Busy { .. })));
    assert_eq!(refused.count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), QUEUE_LENGTH);
}

#[tokio::test]
async fn a_flood_of_logins_leaves_room_for_a_revocation() {
    let store = SqliteStore::in_memory().unwrap();
    let (blocker, release) = hold(&store);
    let device = device("kitchen-1");
    let logins = join_all((0..=QUEUE_LENGTH).map(|_| store.password_hash("marvin")));
    let revocation = async {
        let actor = cli();
        let mut revoked = store.revoke(&device, &actor);
        // Queued, behind the logins that are.
        assert!((&mut revoked).now_or_never().is_none());
        release.send(()).unwrap();
        revoked.await
    };
    let (blocked, answers, revoked) = tokio::join!(blocker, logins, revocation);
    blocked.unwrap();
    assert!(!matches!(revoked, Err(StoreError::Busy { .. })), "{revoked:?}");
    assert!(answers.iter().all(Result::is_ok), "logins wait, and none is refused");
}

#[tokio::test]
async fn a_login_waits_for_few_calls_of_others() {
    let store = SqliteStore::in_memory().unwrap();
    let by = cli();
    let devices = devices(500);
    let flood = devices.iter().map(|device| async { store.block(device, &by).await.map(drop) });
    let login = login(&store, "SELECT count(*) FROM devices WHERE blocked_at IS NOT NULL");
    let before = overtaking(&store, flood, login).await;
    assert!(before <= 2 * MAX_CONCURRENT, "{before} before it");
}

#[tokio::test]
async fn a_revocation_and_a_login_overtake_bulk_work() {
    let (_dir, _path, store) = new_store();
    let item = |number: usize| QueueItem {
        lane: String::new(),
        id: number.to_string(),
        body: "x".repeat(1_000_000).into(),
        at: 1,
    };
    let (store, budget) = (&store, QueueBudget { items: 100, bytes: u64::MAX });
    let bulk = (0..40).map(|number| async move {
        store.enqueue("q", vec![item(number)], 0, budget, Duration::ZERO).await.map(drop)
    });
    let (by, victim) = (cli(), device("a"));
    let critical = async {
        store.revoke(&victim, &by).await?;
        login(store, "SELECT count(*) FROM queue_items").await
    };
    let before = overtaking(store, bulk, critical).await;
    assert!(before <= 4, "{before} of 40 before it");
}

#[tokio::test]
async fn a_revocation_overtakes_a_flood_of_labels() {
    let (_dir, _path, store) = new_store();
    let (by, devices) = (cli(), devices(500));
    devices.iter().for_each(|device| store.seen(device, 0, 1, false));
    flushed(&store).await;
    let flood = devices
        .iter()
        .map(|device| async { store.set_label(device, Some("x"), &by).await.map(drop) });
    let revocation = store.revoke(&devices[0], &by);
    overtaking(&store, flood, revocation).await;
    let lines = store.audit_page(&AuditQuery::default()).await.unwrap();
    assert_eq!(lines.len(), devices.len() + 1);
    let mut oldest_first = lines.iter().rev();
    let before = oldest_first.position(|line| line.action == AuditAction::DeviceRevoked).unwrap();
    assert!(before <= MAX_CONCURRENT, "{before} of 500 before it");
}
