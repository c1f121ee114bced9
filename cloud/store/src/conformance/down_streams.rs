//! The contract of streams to devices: what is handed out, how it is acknowledged, and when it is numbered again.

use fedecks_protocol::{Lane, StreamId, Tag};

use super::down_support::{
    ALL, AT, EXPIRY, NONE, accepted, acknowledge, brief, message, queue, queue_all, resume, state,
    window,
};
use super::support::device;
use crate::device_queue::{
    Acknowledged, Acknowledgement, DeviceQueueStore, DownEntry, DownMessage, DownRoom, DownState,
    DownStatus, DownWindow, NewDown,
};

pub(super) async fn check<S: DeviceQueueStore>(open: impl AsyncFn() -> S) {
    lanes_are_numbered_in_order_for_each_device(&open().await).await;
    a_window_fits_its_room(&open().await).await;
    what_is_acknowledged_is_settled_once(&open().await).await;
    what_did_not_arrive_is_handed_out_again(&open().await).await;
    a_device_that_knows_more_is_noticed(&open().await).await;
    what_waits_is_numbered_again(&open().await).await;
}

async fn lanes_are_numbered_in_order_for_each_device(store: &impl DeviceQueueStore) {
    let epoch = store.epoch();
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    assert_eq!(store.window(&kitchen, Lane::Normal, 0, ALL, AT).await.unwrap(), None);
    let urgent = NewDown { lane: Lane::Urgent, raw: true, ..message(u64::MAX) };
    queue_all(store, &kitchen, [1]).await;
    assert_eq!(queue(store, &kitchen, urgent).await, accepted(&[]));
    queue_all(store, &kitchen, [2]).await;
    queue_all(store, &hall, [1]).await;
    let normal = window(store, &kitchen, 0, ALL, AT).await;
    let entry = |sequence, id: u64, raw| {
        let body = format!("body {id}").into();
        let (id, redelivered) = (Tag(id), false);
        DownEntry::Message(DownMessage { sequence, id, raw, body, at: AT, redelivered })
    };
    let expected = DownWindow {
        stream: normal.stream,
        oldest: 1,
        newest: 2,
        tried: 0,
        entries: vec![entry(1, 1, false), entry(2, 2, false)],
        expired: Vec::new(),
        more: false,
    };
    assert_eq!(normal, expected);
    let urgent = store.window(&kitchen, Lane::Urgent, 0, ALL, AT).await.unwrap().unwrap();
    assert_eq!((urgent.newest, &urgent.entries), (1, &vec![entry(1, u64::MAX, true)]));
    let other = window(store, &hall, 0, ALL, AT).await;
    assert_eq!((other.newest, &other.entries), (1, &vec![entry(1, 1, false)]));
    let mut streams = [normal.stream, urgent.stream, other.stream].to_vec();
    streams.sort();
    streams.dedup();
    assert_eq!(streams.len(), 3);
    assert_eq!(store.epoch(), epoch, "a change does not replace the store");
}

async fn a_window_fits_its_room(store: &impl DeviceQueueStore) {
    let kitchen = device("kitchen");
    queue_all(store, &kitchen, 1..=3).await;
    let size = message(1).body.len() as u64;
    let header = window(store, &kitchen, 0, NONE, EXPIRY).await;
    assert_eq!((header.newest, header.tried, header.more), (3, 0, true));
    assert_eq!(
        (&*header.entries, state(store, &kitchen, 1).await),
        (&[][..], Some(DownState::Queued))
    );
    for (after, messages, bytes, expected, more) in [
        (0, 1, u64::MAX, vec!["1: 1"], true),
        (1, 9, 1, vec!["2: 2"], true),
        (0, 9, 2 * size, vec!["1: 1 again", "2: 2 again"], true),
        (1, 9, 2 * size, vec!["2: 2 again", "3: 3"], false),
        (2, 9, u64::MAX, vec!["3: 3 again"], false),
        (3, 9, u64::MAX, vec![], false),
        (9, 9, u64::MAX, vec![], false),
    ] {
        let part = window(store, &kitchen, after, DownRoom { messages, bytes }, AT).await;
        assert_eq!(
            (brief(&part), part.more),
            (expected.iter().map(ToString::to_string).collect(), more)
        );
    }
}

async fn what_is_acknowledged_is_settled_once(store: &impl DeviceQueueStore) {
    let (kitchen, hall) = (device("kitchen"), device("hall"));
    queue_all(store, &kitchen, 1..=5).await;
    store.cancel_message(&kitchen, Tag(3), AT).await.unwrap();
    let sent = window(store, &kitchen, 0, ALL, AT).await;
    let with = |up_to, rejected: &[u64]| Acknowledgement {
        stream: sent.stream,
        up_to,
        tag: Tag(up_to),
        rejected: rejected.to_vec(),
        resumed: false,
    };
    let settled = store.acknowledge(&kitchen, with(4, &[2, 3, 9]), AT + 3).await.unwrap();
    let (delivered, rejected) = (DownState::Delivered, DownState::Rejected);
    let expected = vec![(Tag(1), delivered), (Tag(2), rejected), (Tag(4), delivered)];
    assert_eq!(settled, Acknowledged::Settled(expected));
    for up_to in [4, 1, 0] {
        let again = store.acknowledge(&kitchen, with(up_to, &[1]), AT + 9).await.unwrap();
        assert_eq!(again, Acknowledged::Settled(Vec::new()), "{up_to}");
    }
    let expected = DownStatus {
        state: rejected,
        lane: Lane::Normal,
        queued_at: AT,
        changed_at: AT + 3,
        expires_at: EXPIRY,
    };
    assert_eq!(store.message_status(&kitchen, Tag(2)).await.unwrap(), Some(expected));
    let unknown = Acknowledgement { stream: StreamId([0; 16]), ..with(1, &[]) };
    assert_eq!(
        store.acknowledge(&kitchen, unknown, AT).await.unwrap(),
        Acknowledged::UnknownStream
    );
    assert_eq!(
        store.acknowledge(&hall, with(1, &[]), AT).await.unwrap(),
        Acknowledged::UnknownStream
    );
    let rest = window(store, &kitchen, 0, ALL, AT).await;
    assert_eq!((brief(&rest), rest.oldest, rest.tried), (vec!["5: 5 again".to_owned()], 5, 5));
}

async fn what_did_not_arrive_is_handed_out_again(store: &impl DeviceQueueStore) {
    let kitchen = device("kitchen");
    queue_all(store, &kitchen, 1..=3).await;
    let sent = window(store, &kitchen, 0, DownRoom { messages: 2, ..ALL }, AT).await;
    assert_eq!(state(store, &kitchen, 2).await, Some(DownState::Sent));
    assert_eq!(
        resume(store, &kitchen, &sent, 1).await,
        Acknowledged::Settled(vec![(Tag(1), DownState::Delivered)])
    );
    assert_eq!(state(store, &kitchen, 2).await, Some(DownState::Queued));
    let again = window(store, &kitchen, 1, ALL, AT).await;
    assert_eq!((brief(&again), again.tried), (vec!["2: 2 again".to_owned(), "3: 3".to_owned()], 1));
    // However often the device resumes: it may have lost what it had.
    resume(store, &kitchen, &sent, 1).await;
    resume(store, &kitchen, &sent, 1).await;
    let again = window(store, &kitchen, 1, ALL, AT).await;
    assert_eq!(brief(&again), ["2: 2 again", "3: 3 again"]);
    // An acknowledgement from an older connection is true as well.
    resume(store, &kitchen, &sent, 1).await;
    let late = acknowledge(store, &kitchen, &sent, 2).await;
    assert_eq!(late, Acknowledged::Settled(vec![(Tag(2), DownState::Delivered)]));
    // A device that was set back gets what is left.
    assert_eq!(resume(store, &kitchen, &sent, 0).await, Acknowledged::Settled(Vec::new()));
    let rest = window(store, &kitchen, 0, ALL, AT).await;
    assert_eq!((brief(&rest), rest.oldest), (vec!["3: 3 again".to_owned()], 3));
}

async fn a_device_that_knows_more_is_noticed(store: &impl DeviceQueueStore) {
    let kitchen = device("kitchen");
    queue_all(store, &kitchen, 1..=3).await;
    store.cancel_message(&kitchen, Tag(2), AT).await.unwrap();
    let sent = window(store, &kitchen, 0, ALL, AT).await;
    let at = |up_to, tag| Acknowledgement {
        stream: sent.stream,
        up_to,
        tag: Tag(tag),
        rejected: Vec::new(),
        resumed: true,
    };
    // A higher number, another message, one where none is, and none where one is.
    for (up_to, tag) in [(4, 0), (4, 4), (1, 7), (2, 2), (1, 0)] {
        let answer = store.acknowledge(&kitchen, at(up_to, tag), AT).await.unwrap();
        assert_eq!(answer, Acknowledged::Diverged, "{up_to} {tag}");
    }
    assert_eq!(state(store, &kitchen, 1).await, Some(DownState::Sent), "nothing was changed");
    let settled = store.acknowledge(&kitchen, at(1, 1), AT).await.unwrap();
    assert_eq!(settled, Acknowledged::Settled(vec![(Tag(1), DownState::Delivered)]));
    assert_eq!(store.acknowledge(&kitchen, at(1, 7), AT).await.unwrap(), Acknowledged::Diverged);
    // Whose tag is known or not, and the number that carries none.
    for (up_to, tag) in [(1, 1), (1, 0), (2, 0)] {
        let known = store.acknowledge(&kitchen, at(up_to, tag), AT).await.unwrap();
        assert_eq!(known, Acknowledged::Settled(Vec::new()), "{up_to} {tag}");
    }
}

async fn what_waits_is_numbered_again(store: &impl DeviceQueueStore) {
    let kitchen = device("kitchen");
    queue_all(store, &kitchen, 1..=6).await;
    store.cancel_message(&kitchen, Tag(4), AT).await.unwrap();
    let sent = window(store, &kitchen, 0, DownRoom { messages: 3, ..ALL }, AT).await;
    acknowledge(store, &kitchen, &sent, 2).await;
    let stream = store.renumber(&kitchen, Lane::Normal).await.unwrap();
    assert_ne!(stream, sent.stream);
    assert_eq!(acknowledge(store, &kitchen, &sent, 3).await, Acknowledged::UnknownStream);
    queue_all(store, &kitchen, [7]).await;
    let again = window(store, &kitchen, 0, ALL, AT).await;
    assert_eq!((again.stream, again.oldest, again.tried), (stream, 1, 0));
    assert_eq!(brief(&again), ["1: 3 again", "2: 5 again", "3: 6 again", "4: 7"]);
    let settled = acknowledge(store, &kitchen, &again, 4).await;
    let expected = [3, 5, 6, 7].map(|id| (Tag(id), DownState::Delivered)).to_vec();
    assert_eq!(settled, Acknowledged::Settled(expected));
    // A lane that was never used.
    let urgent = store.renumber(&kitchen, Lane::Urgent).await.unwrap();
    let empty = store.window(&kitchen, Lane::Urgent, 0, ALL, AT).await.unwrap().unwrap();
    assert_eq!((empty.stream, empty.newest, empty.more), (urgent, 0, false));
}
