//! Kept messages while the store fails, or its answer is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use fedecks_cloud::store::{
    Epoch, Fence, LogQuery, LogStatus, LoggedMessage, MessageStore, OpenStreams, SqliteStore, Step,
    StoreError, StoreFuture,
};
use fedecks_protocol::{
    CloseCode, DeliveryFrame, DeviceId, DownFrame, InstallationId, StreamId, Tag, UpFrame,
};
use fedecks_testing::cloud::{Cloud, CloudOptions};
use fedecks_testing::raw_device::RawDevice;

use crate::kept::{Instructed, ack, ack_of, kept, logged, resume};

/// A store that fails as requested.
struct Flaky {
    store: SqliteStore,
    fault: AtomicU8,
}

const NONE: u8 = 0;
/// Nothing can be stored.
const DOWN: u8 = 1;
/// It is stored, but the caller receives an error.
const ANSWER_LOST: u8 = 2;
/// Nothing can be read.
const UNREADABLE: u8 = 3;

impl Flaky {
    fn set(&self, fault: u8) {
        self.fault.store(fault, Ordering::SeqCst);
    }

    fn error() -> StoreError {
        StoreError::Missing { location: "the requested place".to_owned() }
    }
}

impl Epoch for Flaky {
    fn epoch(&self) -> u64 {
        self.store.epoch()
    }
}

impl MessageStore for Flaky {
    fn installation(&self) -> StoreFuture<'_, InstallationId> {
        self.store.installation()
    }

    fn open_streams<'a>(&'a self, device: &'a DeviceId) -> StoreFuture<'a, OpenStreams> {
        if self.fault.load(Ordering::SeqCst) == UNREADABLE {
            return Box::pin(async { Err(Self::error()) });
        }
        self.store.open_streams(device)
    }

    fn accept<'a>(
        &'a self,
        device: &'a DeviceId,
        fence: Fence,
        steps: Vec<Step>,
    ) -> StoreFuture<'a, usize> {
        Box::pin(async move {
            match self.fault.load(Ordering::SeqCst) {
                NONE => self.store.accept(device, fence, steps).await,
                ANSWER_LOST => {
                    self.store.accept(device, fence, steps).await?;
                    Err(Self::error())
                }
                _ => Err(Self::error()),
            }
        })
    }

    fn forget_stream<'a>(&'a self, device: &'a DeviceId, stream: StreamId) -> StoreFuture<'a, ()> {
        self.store.forget_stream(device, stream)
    }

    fn logged<'a>(&'a self, query: &'a LogQuery) -> StoreFuture<'a, Vec<LoggedMessage>> {
        self.store.logged(query)
    }

    fn log_status(&self) -> StoreFuture<'_, LogStatus> {
        self.store.log_status()
    }

    fn trim_log(&self, before: u64, bytes: u64) -> StoreFuture<'_, u64> {
        self.store.trim_log(before, bytes)
    }
}

async fn start() -> (Cloud<(String, bool)>, Arc<Flaky>) {
    let store = SqliteStore::in_memory().unwrap();
    let flaky = Arc::new(Flaky { store, fault: AtomicU8::new(NONE) });
    let options = CloudOptions { messages: Some(flaky.clone()), ..CloudOptions::default() };
    (options.start(|calls| Instructed::new(calls, &Arc::default())).await, flaky)
}

async fn connect(cloud: &Cloud<(String, bool)>, oldest: u64) -> RawDevice {
    let mut device = RawDevice::connect(cloud.address, "a").await;
    device.send(&resume(oldest)).await;
    device
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_store_is_down() {
    let (mut cloud, store) = start().await;
    let mut device = connect(&cloud, 1).await;
    assert_eq!(ack(&mut device).await.up_to, 0);
    store.set(DOWN);
    device.send(&kept(1, "m1", false)).await;
    device.send(&kept(2, "m2", false)).await;
    assert_eq!(cloud.next().await.0, "m1");
    // Everything else continues.
    device.send(&UpFrame::KeepAlive(7)).await;
    assert_eq!(device.frame().await, DownFrame::Alive(7));
    let rewind = DownFrame::Delivery(DeliveryFrame::Rewind { handle: 1, to: 0 });
    let mut waits = Vec::new();
    for fault in [DOWN, NONE] {
        let since = Instant::now();
        assert_eq!(device.frame().await, rewind);
        waits.push(since.elapsed());
        assert!(logged(&cloud).await.is_empty());
        store.set(fault);
        device.send(&kept(1, "m1", true)).await;
        device.send(&kept(2, "m2", true)).await;
    }
    assert!(waits[1] >= Duration::from_millis(1900), "{waits:?}");
    ack_of(&mut device, 2).await;
    assert_eq!(logged(&cloud).await, ["\"m1\"", "\"m2\""]);
    assert_eq!(cloud.hub.stats().received_bytes_held, 0);
}

#[tokio::test]
async fn what_was_stored_without_an_answer_is_stored_once() {
    let (mut cloud, store) = start().await;
    let mut device = connect(&cloud, 1).await;
    ack(&mut device).await;
    store.set(ANSWER_LOST);
    device.send(&kept(1, "m1", false)).await;
    let rewind = DownFrame::Delivery(DeliveryFrame::Rewind { handle: 1, to: 0 });
    assert_eq!(device.frame().await, rewind);
    store.set(NONE);
    device.send(&kept(1, "m1", true)).await;
    // The device comes back soon: no other connection has replaced this one.
    let reason = device.closed().await;
    assert_eq!(reason.code, CloseCode::Overloaded);
    assert!(reason.retry_after.is_some());
    let mut device = connect(&cloud, 1).await;
    let position = ack(&mut device).await;
    assert_eq!((position.up_to, position.tag), (1, Tag(1001)));
    assert_eq!(logged(&cloud).await, ["\"m1\""]);
    assert_eq!(cloud.next().await, ("m1".to_owned(), false));
    assert_eq!(cloud.next().await, ("m1".to_owned(), true));
}

#[tokio::test]
async fn a_gap_that_cannot_be_stored_is_announced_again() {
    let (mut cloud, store) = start().await;
    store.set(DOWN);
    let mut device = connect(&cloud, 5).await;
    device.send(&kept(5, "m5", false)).await;
    assert_eq!(device.closed().await.code, CloseCode::Overloaded);
    store.set(NONE);
    device.ended().await;
    let mut device = connect(&cloud, 5).await;
    assert_eq!(ack(&mut device).await.up_to, 4);
    device.send(&kept(5, "m5", true)).await;
    ack_of(&mut device, 5).await;
    assert_eq!(logged(&cloud).await, ["\"m5\""]);
    assert!(cloud.try_next().is_some());
}

#[tokio::test]
async fn a_device_whose_positions_cannot_be_read_comes_back_later() {
    let (cloud, store) = start().await;
    store.set(UNREADABLE);
    let mut device = connect(&cloud, 1).await;
    let reason = device.closed().await;
    assert_eq!(reason.code, CloseCode::Overloaded);
    assert!(reason.retry_after.is_some());
    store.set(NONE);
    assert_eq!(ack(&mut connect(&cloud, 1).await).await.up_to, 0);
}
