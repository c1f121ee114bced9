//! Random calls of both ends, with numbers at their limits: never a panic, and bounded memory.

use std::time::Duration;

use fedecks_delivery::{Credit, Entry, MAX_STREAMS, Message, Outcome, Position, Receiver, Sender};
use fedecks_protocol::{Ack, Lane, Resume, Skip, SkipReason, StreamId, Tag};
use proptest::prelude::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..12_u64, 1 => u64::MAX - 3..=u64::MAX, 1 => any::<u64>()]
}

/// Which call, and what it is given.
type Call = (u8, u8, [u64; 4], Vec<u64>);

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let numbers = [number(), number(), number(), number()];
    prop::collection::vec(
        (0..16_u8, 0..12_u8, numbers, prop::collection::vec(number(), 0..4)),
        0..80,
    )
}

fn lane(number: u64) -> Lane {
    if number % 2 == 0 { Lane::Normal } else { Lane::Urgent }
}

fn message(tag: u64, size: u64) -> Message<()> {
    let expires_at = Some(Duration::from_secs(size));
    Message { tag: Tag(tag), size, sent_at_ms: None, expires_at, redelivered: false, body: () }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_receiver_survives_everything_and_holds_no_more_than_it_granted(calls in calls()) {
        let mut it = Receiver::new(Credit::MAX);
        let mut held: Vec<(u64, u64, u64)> = Vec::new();
        for (call, id, [a, b, c, d], _) in calls {
            let stream = StreamId([id; 16]);
            let before: Vec<_> = it.positions().collect();
            match call {
                0..4 => {
                    let resume = Resume { handle: a, lane: lane(b), stream, oldest: c, newest: d };
                    if it.on_resume(&resume).is_err() {
                        prop_assert_eq!(&before, &it.positions().collect::<Vec<_>>());
                    }
                }
                4..9 => {
                    if it.on_message(a, (b, Tag(c), d)) == Ok(true) {
                        held.push((a, b, d));
                    }
                }
                9 => {
                    let skip = Skip { handle: a, from: b, to: c, reason: SkipReason::Expired };
                    if it.on_skip(&skip) == Ok(true) {
                        held.push((a, c, 0));
                    }
                }
                10 | 11 => {
                    let outcome = if c % 2 == 0 { Outcome::Processed } else { Outcome::Rejected };
                    if let Some(moved) = it.done(a, b, outcome, Duration::from_secs(d)) {
                        prop_assert!(moved.to.up_to > moved.from);
                        held.retain(|(handle, number, _)| *handle != a || *number > moved.to.up_to);
                    }
                }
                12 => {
                    if it.rewind(a).is_some() {
                        held.retain(|(handle, ..)| *handle != a);
                    }
                }
                13 => {
                    if it.on_close(a).is_ok() {
                        held.retain(|(handle, ..)| *handle != a);
                    }
                }
                14 => it.restore(stream, lane(b), Position { up_to: c, tag: Tag(d) }),
                _ if a == 0 => {
                    it.disconnect();
                    held.clear();
                }
                _ => while let Some(ack) = it.poll_ack(Duration::from_secs(a)) {
                    prop_assert!(ack.rejected.len() <= 100);
                    prop_assert!(ack.credit_bytes <= Credit::MAX.bytes);
                },
            }
            if call == 14 {
                held.retain(|(handle, ..)| it.stream(*handle).is_some());
            }
            for handle in held.iter().map(|(handle, ..)| *handle) {
                let of_stream = held.iter().filter(|it| it.0 == handle);
                prop_assert!(of_stream.clone().count() <= 64);
                let bytes = of_stream.fold(0_u64, |sum, it| sum.saturating_add(it.2));
                let big = held.iter().filter(|it| it.0 == handle && it.2 > 0).count();
                prop_assert!(bytes <= Credit::MAX.bytes || big == 1);
            }
            if call < 4 {
                let known = it.positions().count();
                prop_assert!(known <= before.len().max(2 * MAX_STREAMS));
            }
        }
    }

    #[test]
    fn a_sender_survives_everything_and_settles_each_message_once(calls in calls()) {
        let mut it = Sender::default();
        let (mut tags, mut settled) = (0_u64, std::collections::BTreeSet::new());
        for (call, id, [a, b, c, d], rejected) in calls {
            let stream = StreamId([id % 3; 16]);
            let fresh = StreamId([u8::try_from(tags % 200).unwrap() + 20; 16]);
            let mut now = Vec::new();
            match call {
                0 => {
                    it.open(lane(a), stream, (b, c, d));
                }
                1..4 => {
                    tags += 1;
                    it.open(lane(a), stream, (1, 0, 0));
                    it.append(stream, message(tags, d));
                }
                4 => it.load(stream, b, Entry::Void(SkipReason::Expired)),
                5 => it.connect(),
                6..9 => {
                    it.poll_transmit();
                }
                9..12 => {
                    let (handle, tag) = (a, Tag(c));
                    let (credit_to, credit_bytes) = (d, a);
                    let ack = Ack { handle, up_to: b, tag, credit_to, credit_bytes, rejected };
                    if let Some((stream, sequence)) = it.unverified(&ack) {
                        it.look_up(stream, sequence, Tag(d));
                    }
                    if let Ok(acked) = it.on_ack(&ack, fresh) {
                        now = acked.settled;
                    }
                }
                12 => drop(it.on_rewind(a, b)),
                13 => now = it.expire(Duration::from_secs(a)),
                14 => now = it.drop_oldest(lane(a), b, c),
                _ => {
                    it.extend(stream, b);
                    it.to_load(8, c);
                    it.refuse(a, b, SkipReason::TooBig).map(|tag| settled.insert(tag.0));
                    it.close_finished(&[]);
                }
            }
            for (tag, _) in now {
                prop_assert!(settled.insert(tag.0), "{} was settled twice", tag);
            }
            let next = it.next_expiry();
            prop_assert!(next.is_none_or(|at| !it.clone().expire(at).is_empty()), "a busy loop");
        }
    }
}
