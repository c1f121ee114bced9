//! Helpers of the tests of messages for devices.

use fedecks_protocol::{DeviceId, Lane, Tag};

use crate::device_queue::{
    Acknowledged, Acknowledgement, DeviceQueueStore, DownEntry, DownRoom, DownState, DownWindow,
    NewDown, Queued,
};
use crate::down_size::DownLimits;

pub(super) const ALL: DownRoom = DownRoom { messages: usize::MAX, bytes: u64::MAX };

pub(super) const NONE: DownRoom = DownRoom { messages: 0, bytes: 0 };

/// When messages of the tests are accepted and expire.
pub(super) const AT: u64 = 1_000_000;
pub(super) const EXPIRY: u64 = AT + 100;

pub(super) fn message(id: u64) -> NewDown {
    NewDown {
        id: Tag(id),
        lane: Lane::Normal,
        raw: false,
        body: format!("body {id}").into(),
        at: AT,
        expires_at: EXPIRY,
        collapse_key: None,
    }
}

/// Queues it within ample limits.
pub(super) async fn queue(
    store: &impl DeviceQueueStore,
    device: &DeviceId,
    message: NewDown,
) -> Queued {
    store.queue_message(device, message, None, DownLimits::default()).await.unwrap()
}

pub(super) async fn queue_all(
    store: &impl DeviceQueueStore,
    device: &DeviceId,
    ids: impl IntoIterator<Item = u64>,
) {
    for id in ids {
        assert_eq!(queue(store, device, message(id)).await, accepted(&[]));
    }
}

pub(super) fn accepted(replaced: &[u64]) -> Queued {
    Queued::Accepted { replaced: replaced.iter().copied().map(Tag).collect() }
}

pub(super) async fn window(
    store: &impl DeviceQueueStore,
    device: &DeviceId,
    after: u64,
    room: DownRoom,
    now: u64,
) -> DownWindow {
    store.window(device, Lane::Normal, after, room, now).await.unwrap().unwrap()
}

/// The first number, and the tag or the reason, of each entry.
pub(super) fn brief(window: &DownWindow) -> Vec<String> {
    let brief = |entry: &DownEntry| match entry {
        DownEntry::Message(message) => {
            let again = if message.redelivered { " again" } else { "" };
            format!("{}: {}{again}", message.sequence, message.id.0)
        }
        DownEntry::Void { from, to, reason } => format!("{from}-{to} {}", reason.as_str()),
    };
    window.entries.iter().map(brief).collect()
}

pub(super) async fn state(
    store: &impl DeviceQueueStore,
    device: &DeviceId,
    id: u64,
) -> Option<DownState> {
    store.message_status(device, Tag(id)).await.unwrap().map(|status| status.state)
}

/// The device is done up to a number, on an open connection.
pub(super) async fn acknowledge(
    store: &impl DeviceQueueStore,
    device: &DeviceId,
    of: &DownWindow,
    up_to: u64,
) -> Acknowledged {
    let acknowledgement = Acknowledgement {
        stream: of.stream,
        up_to,
        tag: Tag(0),
        rejected: Vec::new(),
        resumed: false,
    };
    store.acknowledge(device, acknowledgement, AT + 5).await.unwrap()
}

/// The device tells on a new connection how far it is. The messages have their numbers as ids.
pub(super) async fn resume(
    store: &impl DeviceQueueStore,
    device: &DeviceId,
    of: &DownWindow,
    up_to: u64,
) -> Acknowledged {
    let (stream, tag, rejected) = (of.stream, Tag(up_to), Vec::new());
    let acknowledgement = Acknowledgement { stream, up_to, tag, rejected, resumed: true };
    store.acknowledge(device, acknowledgement, AT + 6).await.unwrap()
}
