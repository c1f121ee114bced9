//! Tests of many calls at once: what a full queue refuses, and what overtakes what.

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::queue::QUEUE_LENGTH;
use super::store::SqliteStore;
use crate::accounts::AccountStore;
use crate::conformance::support::{cli, device};
use crate::devices::DeviceStore;
use crate::error::StoreError;

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
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let blocker = store.read(move |_| {
        gate.recv().unwrap();
        Ok(())
    });
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
