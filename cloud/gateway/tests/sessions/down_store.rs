//! Kept messages for devices while the store fails, over several nodes, and with a handler that panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fedecks_cloud::messaging::{InProcess, KeepDown, SendKeptError, SettledMessage};
use fedecks_cloud::store::{
    Acknowledged, Acknowledgement, Cancelled, DeviceQueueStore, DownLimits, DownRecord, DownRoom,
    DownSize, DownState, DownStatus, DownWindow, Epoch, ExpiredMessages, IdempotencyKey, NewDown,
    Queued, SqliteStore, StoreError, StoreFuture,
};
use fedecks_cloud::{Decision, DeviceId, Fedecks, Handler, Login};
use fedecks_protocol::{CloseCode, Lane, StreamId, Tag};
use fedecks_testing::cloud::{CloudOptions, keyring};
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until;

use crate::down::{
    Cloud, Recorder, ack, connect, nothing_arrives, resume, said, send, send_ack, state, text,
};
use crate::support::id;

/// A store that fails, or is slow to answer, on request.
struct Flaky {
    store: SqliteStore,
    fails: AtomicBool,
    is_slow: AtomicBool,
}

impl Flaky {
    fn new() -> Arc<Self> {
        let store = SqliteStore::in_memory().unwrap();
        let (fails, is_slow) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { store, fails, is_slow })
    }

    fn set(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    fn or_fail<'a, T: Send + 'a>(&self, call: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        if self.fails.load(Ordering::SeqCst) {
            let error = StoreError::Missing { location: "the requested place".to_owned() };
            return Box::pin(async move { Err(error) });
        }
        call
    }
}

impl Epoch for Flaky {
    fn epoch(&self) -> u64 {
        self.store.epoch()
    }
}

impl DeviceQueueStore for Flaky {
    fn queue_message<'a>(
        &'a self,
        device: &'a DeviceId,
        message: NewDown,
        key: Option<IdempotencyKey>,
        limits: DownLimits,
    ) -> StoreFuture<'a, Queued> {
        self.or_fail(self.store.queue_message(device, message, key, limits))
    }

    fn window<'a>(
        &'a self,
        device: &'a DeviceId,
        lane: Lane,
        after: u64,
        room: DownRoom,
        now: u64,
    ) -> StoreFuture<'a, Option<DownWindow>> {
        self.or_fail(self.store.window(device, lane, after, room, now))
    }

    fn acknowledge<'a>(
        &'a self,
        device: &'a DeviceId,
        acknowledgement: Acknowledgement,
        now: u64,
    ) -> StoreFuture<'a, Acknowledged> {
        let call = self.or_fail(self.store.acknowledge(device, acknowledgement, now));
        Box::pin(async move {
            let answer = call.await;
            if self.is_slow.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            answer
        })
    }

    fn renumber<'a>(&'a self, device: &'a DeviceId, lane: Lane) -> StoreFuture<'a, StreamId> {
        self.or_fail(self.store.renumber(device, lane))
    }

    fn message_status<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
    ) -> StoreFuture<'a, Option<DownStatus>> {
        self.store.message_status(device, id)
    }

    fn device_messages<'a>(
        &'a self,
        device: &'a DeviceId,
        before: Option<u64>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<DownRecord>> {
        self.store.device_messages(device, before, limit)
    }

    fn cancel_message<'a>(
        &'a self,
        device: &'a DeviceId,
        id: Tag,
        now: u64,
    ) -> StoreFuture<'a, Cancelled> {
        self.store.cancel_message(device, id, now)
    }

    fn expire_messages(&self, now: u64) -> StoreFuture<'_, ExpiredMessages> {
        self.store.expire_messages(now)
    }

    fn waiting(&self) -> StoreFuture<'_, DownSize> {
        self.store.waiting()
    }
}

#[tokio::test]
async fn a_session_lives_on_while_the_store_fails() {
    let store = Flaky::new();
    let options = CloudOptions { device_queue: Some(store.clone()), ..CloudOptions::default() };
    let mut cloud = options.start(Recorder).await;
    let first = send(&cloud, "a", "one").await;
    // At each of the calls: to look, to resume, to fetch, to acknowledge.
    store.set(true);
    let mut device = connect(&cloud, "a").await;
    nothing_arrives(&mut device).await;
    let refused = cloud.hub.send_kept(&id("a"), "x", KeepDown::default()).await;
    assert!(matches!(refused, Err(SendKeptError::Store(_))), "{refused:?}");
    store.set(false);
    let began = Instant::now();
    resume(&mut device).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    store.set(true);
    send_ack(&mut device, ack(1, 0, 0)).await;
    nothing_arrives(&mut device).await;
    store.set(false);
    assert_eq!(text(&mut device).await, said(1, "one", false));
    store.set(true);
    send_ack(&mut device, ack(1, 1, first.0)).await;
    nothing_arrives(&mut device).await;
    assert_eq!(cloud.try_next(), None);
    store.set(false);
    assert_eq!(cloud.next().await, ("a".to_owned(), first, DownState::Delivered));
    assert_eq!(cloud.hub.stats().connected, 1);
}

/// A store, and a cloud whose device `a` has a message that it has not acknowledged.
async fn one_is_out() -> (Arc<Flaky>, Cloud, Tag, RawDevice) {
    let store = Flaky::new();
    let options = CloudOptions { device_queue: Some(store.clone()), ..CloudOptions::default() };
    let cloud = options.start(Recorder).await;
    let first = send(&cloud, "a", "one").await;
    let mut device = connect(&cloud, "a").await;
    resume(&mut device).await;
    send_ack(&mut device, ack(1, 0, 0)).await;
    assert_eq!(text(&mut device).await, said(1, "one", false));
    (store, cloud, first, device)
}

#[tokio::test]
async fn what_a_device_acknowledged_at_its_end_is_stored() {
    let (store, mut cloud, first, mut device) = one_is_out().await;
    store.set(true);
    send_ack(&mut device, ack(1, 1, first.0)).await;
    nothing_arrives(&mut device).await;
    store.set(false);
    // The session waits for its next attempt.
    drop(device);
    assert_eq!(cloud.next().await, ("a".to_owned(), first, DownState::Delivered));
}

#[tokio::test]
async fn what_a_device_resumed_with_at_its_end_is_told() {
    let (store, mut cloud, first, device) = one_is_out().await;
    drop(device);
    let mut device = connect(&cloud, "a").await;
    resume(&mut device).await;
    store.is_slow.store(true, Ordering::SeqCst);
    send_ack(&mut device, ack(1, 1, first.0)).await;
    let is_stored = async || state(&cloud, "a", first).await == DownState::Delivered;
    until(async || is_stored().await.then_some(())).await;
    drop(device);
    until(async || (cloud.hub.stats().connected == 0).then_some(())).await;
    cloud.hub.flush_settled().await;
    assert_eq!(cloud.try_next(), Some(("a".to_owned(), first, DownState::Delivered)));
}

#[tokio::test]
async fn a_message_from_another_node_wakes_the_session() {
    let backplane = Arc::new(InProcess::new());
    let store = Flaky::new();
    let node = || CloudOptions {
        device_queue: Some(store.clone()),
        backplane: Some(backplane.clone()),
        ..CloudOptions::default()
    };
    let near = node().start(Recorder).await;
    let far = node().start(Recorder).await;
    let mut device = connect(&near, "a").await;
    nothing_arrives(&mut device).await;
    send(&far, "a", "hello").await;
    resume(&mut device).await;
    send_ack(&mut device, ack(1, 0, 0)).await;
    assert_eq!(text(&mut device).await, said(1, "hello", false));
}

#[tokio::test]
async fn what_waits_in_a_restored_store_is_numbered_again() {
    let directory = tempfile::tempdir().unwrap();
    let [now, copy] = ["now.sqlite", "copy.sqlite"].map(|name| directory.path().join(name));
    let start = async |path: &std::path::Path| {
        let store = Arc::new(SqliteStore::open(path).unwrap());
        let device_queue: Option<Arc<dyn DeviceQueueStore>> = Some(store);
        CloudOptions { device_queue, ..CloudOptions::default() }.start(Recorder).await
    };
    let mut cloud = start(&now).await;
    let one = send(&cloud, "a", "one").await;
    SqliteStore::back_up(&now, &copy).unwrap();
    let two = send(&cloud, "a", "two").await;
    let mut device = connect(&cloud, "a").await;
    let before = resume(&mut device).await;
    send_ack(&mut device, ack(1, 0, 0)).await;
    assert_eq!(text(&mut device).await, said(1, "one", false));
    assert_eq!(text(&mut device).await, said(2, "two", false));
    send_ack(&mut device, ack(1, 2, two.0)).await;
    assert_eq!(cloud.next().await, ("a".to_owned(), one, DownState::Delivered));
    drop(device);
    // The copy has given the second number to another message.
    let mut restored = start(&copy).await;
    send(&restored, "a", "other").await;
    let mut device = connect(&restored, "a").await;
    let after = resume(&mut device).await;
    assert_eq!((after.stream, after.newest), (before.stream, 2));
    send_ack(&mut device, ack(1, 2, two.0)).await;
    let again = resume(&mut device).await;
    assert_ne!(again.stream, before.stream);
    send_ack(&mut device, ack(2, 0, 0)).await;
    assert_eq!(text(&mut device).await, said(1, "one", true));
    assert_eq!(text(&mut device).await, said(2, "other", true));
    send_ack(&mut device, ack(2, 2, 0)).await;
    assert_eq!(restored.next().await, ("a".to_owned(), one, DownState::Delivered));
}

/// Panics when it is notified.
struct Panics;

impl Handler for Panics {
    async fn authenticate(&self, _: Login<'_>) -> Decision {
        Decision::Reject
    }

    fn on_settled(&self, _: &DeviceId, _: &[SettledMessage]) {
        panic!("as requested");
    }
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_session_and_no_message() {
    let cloud = CloudOptions::default().start::<(), _>(|_| Panics).await;
    let tag = send(&cloud, "a", "one").await;
    let mut device = connect(&cloud, "a").await;
    resume(&mut device).await;
    send_ack(&mut device, ack(1, 0, 0)).await;
    assert_eq!(text(&mut device).await, said(1, "one", false));
    send_ack(&mut device, ack(1, 1, 0)).await;
    assert_eq!(device.closed().await.code, CloseCode::InternalError);
    let status = async || cloud.device_queue.message_status(&id("a"), tag).await.unwrap();
    assert_eq!(status().await.map(|status| status.state), Some(DownState::Delivered));
    cloud.hub.settled(&id("a"), &[SettledMessage::new(tag, DownState::Expired)]);
    until(async || (cloud.hub.stats().handler_failures == 1).then_some(())).await;
}

#[tokio::test]
async fn a_cloud_without_a_store_for_them_keeps_no_messages() {
    let store = Arc::new(SqliteStore::in_memory().unwrap());
    let fedecks = Fedecks::builder(Panics, keyring(), store).build().await.unwrap();
    let refused = fedecks.hub().send_kept(&id("a"), "x", KeepDown::default()).await;
    assert!(matches!(refused, Err(SendKeptError::NotOffered)), "{refused:?}");
}
