//! Kept messages from the cloud: each reaches the application once, and the cloud learns what it did with them.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind")]

use fedecks_protocol::{Ack, Content, Kept, Resume, Skip};

use crate::machine::*;

const STREAM: StreamId = StreamId([3; 16]);

fn connected() -> Machine {
    Machine::connected_with(offering(7))
}

fn offering(installation: u8) -> Welcome {
    let (capabilities, installation) = (Capabilities::ALL, InstallationId([installation; 16]));
    Welcome { delivery: Some(DeliveryOffer { capabilities, installation }), ..welcome() }
}

fn reconnect(it: &mut Machine, attempt: u64, installation: u8) {
    it.broken(attempt - 1).discard_outputs();
    it.wake_after(it.wait()).discard_outputs();
    it.dialed(attempt, Ok(())).frame(attempt, &DownFrame::Welcome(offering(installation)));
    it.discard_outputs();
}

fn resume(oldest: u64, newest: u64) -> DownFrame {
    let (handle, lane, stream) = (1, Lane::Normal, STREAM);
    DownFrame::Delivery(DeliveryFrame::Resume(Resume { handle, lane, stream, oldest, newest }))
}

fn kept(sequence: u64, size: usize) -> DownFrame {
    let (handle, tag, content) = (1, Tag(100 + sequence), Content::Raw(vec![7; size]));
    let (sent_at_ms, redelivered) = (Some(5), false);
    let kept = Kept { handle, sequence, tag, sent_at_ms, redelivered, content };
    DownFrame::Delivery(DeliveryFrame::Kept(kept))
}

/// The outputs that matter here: what is handed over, the position that is stored, and each acknowledgement.
#[derive(Debug, PartialEq)]
enum Seen {
    Delivered(DeliveryKey, u64),
    Stored(u64),
    Acked { up_to: u64, rejected: Vec<u64> },
    Logged(Notice),
    Closed(CloseCode),
}

fn seen(it: &mut Machine) -> Vec<Seen> {
    let see = |output| match output {
        Output::Other(Action::DeliverKept(it)) => Some(Seen::Delivered(it.key, it.id.0)),
        Output::Other(Action::StorePositions(it)) => {
            Some(Seen::Stored(it.streams.first().map_or(0, |position| position.up_to)))
        }
        Output::Other(Action::Transmit { message: Outgoing::Frame(bytes), .. }) => {
            match Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap() {
                UpFrame::Delivery(DeliveryFrame::Ack(Ack { up_to, rejected, .. })) => {
                    Some(Seen::Acked { up_to, rejected })
                }
                _ => None,
            }
        }
        Output::Other(Action::Log(notice)) => Some(Seen::Logged(notice)),
        Output::Other(Action::Disconnect { code, .. }) => Some(Seen::Closed(code)),
        _ => None,
    };
    it.drain().into_iter().filter_map(see).collect()
}

fn acked(up_to: u64) -> Seen {
    Seen::Acked { up_to, rejected: Vec::new() }
}

fn acknowledge(it: &mut Machine, key: u64, outcome: Outcome) {
    it.core.handle_acknowledge(it.now, DeliveryKey(key), outcome);
}

#[test]
fn a_position_is_stored_before_it_is_acknowledged() {
    let mut it = connected();
    it.frame(1, &resume(1, 3));
    assert_eq!(seen(&mut it), [acked(0)]);
    it.frame(1, &kept(1, 10)).frame(1, &kept(2, 10));
    let delivered = |key| Seen::Delivered(DeliveryKey(key), 100 + key);
    assert_eq!(seen(&mut it), [delivered(1), delivered(2)]);
    assert_eq!((it.core.inbox().messages, it.core.inbox().bytes), (2, 20));

    // In order: the second alone moves nothing.
    acknowledge(&mut it, 2, Outcome::Rejected);
    assert_eq!(seen(&mut it), []);
    acknowledge(&mut it, 1, Outcome::Processed);
    assert_eq!(seen(&mut it), [Seen::Stored(2)]);
    it.keep_deadline_in(millis(250));
    assert_eq!(seen(&mut it), [Seen::Acked { up_to: 2, rejected: vec![2] }]);
    acknowledge(&mut it, 1, Outcome::Rejected);
    assert_eq!(seen(&mut it), []);
    assert_eq!(it.core.inbox().messages, 0);
}

#[test]
fn a_reconnect_hands_over_nothing_that_the_application_has() {
    let mut it = connected();
    it.frame(1, &resume(1, 3)).frame(1, &kept(1, 1)).frame(1, &kept(2, 1)).discard_outputs();
    it.broken(1).discard_outputs();
    // While disconnected.
    acknowledge(&mut it, 1, Outcome::Processed);
    assert_eq!(seen(&mut it), []);
    it.wake_after(it.wait()).discard_outputs();
    it.dialed(2, Ok(())).frame(2, &DownFrame::Welcome(offering(7))).discard_outputs();
    it.frame(2, &resume(1, 3)).frame(2, &kept(1, 1)).frame(2, &kept(2, 1));
    assert_eq!(seen(&mut it), [acked(0)]);
    acknowledge(&mut it, 2, Outcome::Processed);
    assert_eq!(seen(&mut it), [Seen::Stored(2)]);
    it.frame(2, &kept(3, 1));
    assert_eq!(seen(&mut it), [Seen::Delivered(DeliveryKey(3), 103)]);

    // Under other numbers it is still the same message.
    it.broken(2).discard_outputs();
    it.wake_after(it.wait()).discard_outputs();
    it.dialed(3, Ok(())).frame(3, &DownFrame::Welcome(offering(7))).discard_outputs();
    let (handle, lane, stream) = (1, Lane::Normal, StreamId([4; 16]));
    let again = Resume { handle, lane, stream, oldest: 1, newest: 1 };
    it.frame(3, &DownFrame::Delivery(DeliveryFrame::Resume(again)));
    let (sequence, tag, content) = (1, Tag(103), Content::Raw(vec![7]));
    let (sent_at_ms, redelivered) = (None, true);
    let again = Kept { handle, sequence, tag, sent_at_ms, redelivered, content };
    it.frame(3, &DownFrame::Delivery(DeliveryFrame::Kept(again)));
    assert_eq!(seen(&mut it), [acked(0)]);
    acknowledge(&mut it, 3, Outcome::Processed);
    it.keep_deadline_in(millis(250));
    assert_eq!(seen(&mut it).last(), Some(&acked(1)));
}

#[test]
fn stored_positions_continue_only_with_the_same_cloud() {
    let position = StreamPosition { stream: STREAM, lane: Lane::Normal, up_to: 2, tag: Tag(102) };
    let installation = InstallationId([7; 16]);
    let positions = Positions { installation, streams: vec![position] };
    for (cloud, up_to) in [(7, 2), (8, 0)] {
        let mut it = Machine::dialing();
        it.core.restore_positions(&positions);
        it.dialed(1, Ok(())).frame(1, &DownFrame::Welcome(offering(cloud))).discard_outputs();
        it.frame(1, &resume(1, 3));
        assert_eq!(seen(&mut it).last(), Some(&acked(up_to)));
    }
}

#[test]
fn what_cannot_be_decoded_does_not_stop_the_rest() {
    let mut it = connected();
    it.frame(1, &resume(1, 3)).discard_outputs();
    let heavy = Term::List(vec![Term::Nil; 200_000]);
    let limits = Limits { max_decoded: usize::MAX, ..Limits::default() };
    let content = Content::Term(Dialect::Bincode.keep_term(&heavy, &limits).unwrap());
    let (handle, sequence, tag) = (1, 1, Tag(101));
    let kept_heavy = Kept { handle, sequence, tag, sent_at_ms: None, redelivered: false, content };
    let frame = DownFrame::Delivery(DeliveryFrame::Kept(kept_heavy));
    let bytes = Dialect::Bincode.encode_down(&frame, &limits).unwrap();
    it.bytes(1, &bytes).frame(1, &kept(2, 1));
    let seen_now = seen(&mut it);
    assert!(matches!(seen_now[0], Seen::Logged(Notice::BadFrame { .. })), "{seen_now:?}");
    assert_eq!(seen_now[1], Seen::Delivered(DeliveryKey(1), 102));
    it.keep_deadline_in(millis(250));
    let rejected = Seen::Acked { up_to: 1, rejected: vec![1] };
    assert_eq!(seen(&mut it), [Seen::Stored(1), rejected]);
}

#[test]
fn gaps_are_acknowledged_and_logged() {
    let mut it = connected();
    it.frame(1, &resume(1, 4)).discard_outputs();
    let reason = SkipReason::Expired;
    let skip = Skip { handle: 1, from: 1, to: 3, reason };
    it.frame(1, &DownFrame::Delivery(DeliveryFrame::Skip(skip)));
    assert_eq!(seen(&mut it), [Seen::Logged(Notice::Skipped { messages: 3, reason })]);
    it.keep_deadline_in(millis(250));
    assert_eq!(seen(&mut it), [Seen::Stored(3), acked(3)]);
    reconnect(&mut it, 2, 7);
    it.frame(2, &resume(6, 6));
    assert_eq!(
        seen(&mut it),
        [Seen::Logged(Notice::Gap { messages: 2 }), Seen::Stored(5), acked(5)]
    );
}

#[test]
fn a_violation_ends_the_connection_and_an_offer_is_needed() {
    for frames in [vec![kept(1, 1)], vec![resume(1, 9), kept(2, 1)]] {
        let mut it = connected();
        for frame in &frames {
            it.frame(1, frame);
        }
        let seen = seen(&mut it);
        assert!(
            matches!(
                seen.as_slice(),
                [.., Seen::Logged(Notice::Violation(_)), Seen::Closed(CloseCode::ProtocolError)]
            ),
            "{seen:?}"
        );
    }
    let mut it = Machine::connected();
    it.frame(1, &resume(1, 1));
    assert_eq!(seen(&mut it), [Seen::Logged(Notice::UnexpectedFrame(UnexpectedFrame::Kept))]);
}

#[test]
fn the_application_never_has_more_than_a_few_mebibytes() {
    let mut it = connected();
    let mut delivered = 0;
    for handle in 1..=8 {
        let (lane, stream) = (Lane::Normal, StreamId([handle as u8; 16]));
        let frame = Resume { handle, lane, stream, oldest: 1, newest: 1 };
        it.frame(1, &DownFrame::Delivery(DeliveryFrame::Resume(frame)));
        let (sequence, tag, content) = (1, Tag(handle), Content::Raw(vec![7; 900_000]));
        let (sent_at_ms, redelivered) = (None, false);
        let kept = Kept { handle, sequence, tag, sent_at_ms, redelivered, content };
        it.frame(1, &DownFrame::Delivery(DeliveryFrame::Kept(kept)));
        let seen = seen(&mut it);
        delivered += seen.iter().filter(|it| matches!(it, Seen::Delivered(..))).count();
        if seen.contains(&Seen::Closed(CloseCode::ProtocolError)) {
            break;
        }
    }
    assert_eq!(delivered, 4);
    assert_eq!(it.core.inbox().bytes, 3_600_000);
}
