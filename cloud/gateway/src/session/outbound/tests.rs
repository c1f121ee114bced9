//! The rules of a lane, without a store.

use fedecks_delivery::Violation;
use fedecks_protocol::{Ack, DeliveryFrame, Skip, SkipReason, StreamId, Tag};
use fedecks_store::{Acknowledged, Acknowledgement, DownEntry, DownMessage, DownRoom, DownWindow};
use tokio::time::Instant;

use super::next::Next;
use super::{Outbound, OutboundLane};

const STREAM: StreamId = StreamId([3; 16]);

fn window(oldest: u64, newest: u64, sizes: &[(u64, usize)]) -> DownWindow {
    let entry = |(sequence, size): &(u64, usize)| {
        let body = vec![0; *size].into();
        let (id, sequence) = (Tag(*sequence), *sequence);
        DownEntry::Message(DownMessage { sequence, id, raw: true, body, at: 1, redelivered: false })
    };
    let last = sizes.last().map_or(0, |(sequence, _)| *sequence);
    DownWindow {
        stream: STREAM,
        oldest,
        newest,
        tried: 0,
        entries: sizes.iter().map(entry).collect(),
        expired: Vec::new(),
        more: last < newest,
    }
}

fn ack(up_to: u64, credit_to: u64, credit_bytes: u64) -> Ack {
    Ack { handle: 1, up_to, tag: Tag(up_to), credit_to, credit_bytes, rejected: Vec::new() }
}

/// The numbers that may be sent, and those that are void.
fn numbers(entries: &[DownEntry]) -> Vec<(u64, u64)> {
    let numbers = entries.iter().map(|entry| match entry {
        DownEntry::Message(message) => (message.sequence, 0),
        DownEntry::Void { from, to, .. } => (*from, *to),
    });
    numbers.collect()
}

fn next(lane: &mut OutboundLane) -> Option<Next> {
    lane.next(true, Instant::now())
}

fn fetch(lane: &mut OutboundLane) -> Option<(u64, DownRoom)> {
    match next(lane) {
        Some(Next::Fetch(after, room)) => Some((after, room)),
        Some(_) => panic!("another call"),
        None => None,
    }
}

fn acknowledgement(lane: &mut OutboundLane) -> Acknowledgement {
    match next(lane) {
        Some(Next::Acknowledge(acknowledgement)) => acknowledgement,
        _ => panic!("no acknowledgement"),
    }
}

/// An outbound whose urgent lane is open up to a number.
fn open(oldest: u64, newest: u64, first: Ack) -> Outbound {
    let mut outbound = Outbound::new();
    outbound.look(false);
    let up_to = first.up_to;
    let [lane, _] = &mut outbound.lanes;
    assert!(matches!(next(lane), Some(Next::Peek { is_woken: false })));
    let Some(Some(DeliveryFrame::Resume(_))) = lane.peeked(Some(window(oldest, newest, &[])), 1)
    else {
        panic!("not announced");
    };
    outbound.set_unused_handle(2);
    outbound.on_ack(first).unwrap();
    let [lane, _] = &mut outbound.lanes;
    let resumed = acknowledgement(lane);
    assert!((resumed.resumed, resumed.up_to) == (true, up_to));
    lane.acknowledged(&resumed, &Acknowledged::Settled(Vec::new()));
    outbound
}

#[test]
fn what_a_connection_keeps_for_its_streams_is_small() {
    assert!(size_of::<Outbound>() <= 560, "{}", size_of::<Outbound>());
    assert!(Outbound::new().is_idle());
}

#[test]
fn what_exceeds_the_credit_is_fetched_again() {
    let mut outbound = open(1, 5, ack(0, 3, 1000));
    let [lane, _] = &mut outbound.lanes;
    assert_eq!(fetch(lane), Some((0, DownRoom { messages: 3, bytes: 1000 })));
    let sent = lane.fetched(0, Some(window(1, 5, &[(1, 600), (2, 600)])));
    assert_eq!(numbers(&sent), [(1, 0)]);
    assert_eq!(fetch(lane), None, "400 bytes are too few for the next one");
    outbound.on_ack(ack(1, 3, 1000)).unwrap();
    let [lane, _] = &mut outbound.lanes;
    assert_eq!(acknowledgement(lane).up_to, 1);
    assert_eq!(fetch(lane), Some((1, DownRoom { messages: 2, bytes: 1000 })));
    // One that is too big for the credit is sent alone; numbers have credit as well.
    let sent = lane.fetched(1, Some(window(2, 5, &[(2, 5000), (3, 1)])));
    assert_eq!(numbers(&sent), [(2, 0)]);
    assert_eq!(fetch(lane), None);
}

#[test]
fn credit_is_limited_and_does_not_decrease() {
    let mut outbound = open(1, 500, ack(0, u64::MAX, u64::MAX));
    let [lane, _] = &mut outbound.lanes;
    assert_eq!(fetch(lane), Some((0, DownRoom { messages: 64, bytes: 16 * 1024 })));
    let sent: Vec<_> = (1..=63).map(|number| (number, 1)).collect();
    assert_eq!(lane.fetched(0, Some(window(1, 500, &sent))).len(), 63);
    outbound.on_ack(ack(0, 0, 10_000)).unwrap();
    let [lane, _] = &mut outbound.lanes;
    assert_eq!(fetch(lane), Some((63, DownRoom { messages: 1, bytes: 9937 })));
}

#[test]
fn acknowledgements_wait_together_while_the_store_fails() {
    let mut outbound = open(1, 3, ack(0, 8, 1000));
    let [lane, _] = &mut outbound.lanes;
    assert!(fetch(lane).is_some());
    lane.fetched(0, Some(window(1, 3, &[(1, 1), (2, 1), (3, 1)])));
    outbound.on_ack(Ack { rejected: vec![1], ..ack(1, 9, 1000) }).unwrap();
    let now = Instant::now();
    let [lane, _] = &mut outbound.lanes;
    let first = acknowledgement(lane);
    lane.failed(Some(first), now);
    outbound.on_ack(Ack { rejected: vec![3], ..ack(3, 9, 1000) }).unwrap();
    let [lane, _] = &mut outbound.lanes;
    assert!(lane.next(true, now).is_none(), "not at once");
    let later = lane.next(true, lane.retry_at().unwrap());
    let Some(Next::Acknowledge(both)) = later else { panic!("no acknowledgement") };
    assert_eq!((both.up_to, both.tag, both.rejected), (3, Tag(3), vec![1, 3]));
}

#[test]
fn numbers_that_the_device_forgot_are_skipped_for_it() {
    let mut outbound = open(1, 4, ack(0, 8, 1000));
    let [lane, _] = &mut outbound.lanes;
    assert!(fetch(lane).is_some());
    let sent = lane.fetched(0, Some(window(3, 4, &[(3, 1), (4, 1)])));
    assert_eq!(numbers(&sent), [(1, 2), (3, 0), (4, 0)]);
    assert!(matches!(
        sent.first(),
        Some(DownEntry::Void { reason: SkipReason::ReceiverRestored, .. })
    ));
}

#[test]
fn a_message_that_cannot_be_sent_is_void_and_rejected() {
    let mut outbound = open(1, 2, ack(0, 8, 1000));
    let [lane, _] = &mut outbound.lanes;
    assert!(fetch(lane).is_some());
    assert_eq!(lane.fetched(0, Some(window(1, 2, &[(1, 9), (2, 1)]))).len(), 2);
    let skip = Skip { handle: 1, from: 1, to: 1, reason: SkipReason::TooBig };
    assert_eq!(lane.void(1), DeliveryFrame::Skip(skip));
    outbound.on_ack(ack(2, 9, 1000)).unwrap();
    let [lane, _] = &mut outbound.lanes;
    assert_eq!(acknowledgement(lane).rejected, [1]);
}

#[test]
fn a_rewind_repeats_what_follows_and_drops_what_was_fetched() {
    let mut outbound = open(1, 4, ack(0, 8, 1000));
    let [lane, _] = &mut outbound.lanes;
    assert!(fetch(lane).is_some());
    assert_eq!(lane.fetched(0, Some(window(1, 4, &[(1, 1), (2, 1)]))).len(), 2);
    assert!(fetch(lane).is_some());
    outbound.on_rewind(1, 1).unwrap();
    let [lane, _] = &mut outbound.lanes;
    assert!(lane.fetched(2, Some(window(1, 4, &[(3, 1), (4, 1)]))).is_empty());
    assert_eq!(fetch(lane).map(|(after, _)| after), Some(1));
    let above = outbound.on_rewind(1, 2);
    assert_eq!(above, Err(Violation::BadAck { handle: 1, up_to: 2, from: 0, to: 1 }));
    assert_eq!(outbound.on_rewind(2, 0), Err(Violation::UnknownStream { handle: 2 }));
}

#[test]
fn a_stream_that_the_store_does_not_know_any_more_is_given_up() {
    let mut outbound = open(1, 4, ack(0, 8, 1000));
    let [lane, _] = &mut outbound.lanes;
    assert!(fetch(lane).is_some());
    let other = DownWindow { stream: StreamId([4; 16]), ..window(1, 4, &[(1, 1)]) };
    assert!(lane.fetched(0, Some(other.clone())).is_empty());
    assert!(matches!(next(lane), Some(Next::Peek { .. })));
    // The same one cannot be announced twice on a connection.
    assert!(lane.peeked(Some(window(1, 4, &[])), 2).is_none());
    assert!(matches!(lane.peeked(Some(other), 2), Some(Some(DeliveryFrame::Resume(_)))));
    outbound.set_unused_handle(3);
    assert_eq!(outbound.on_ack(ack(9, 9, 9)), Ok(()), "of the stream that was given up");
}
