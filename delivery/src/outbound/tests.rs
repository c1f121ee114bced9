//! Tests of one stream of a sender.

use super::*;

fn message(number: u64) -> Entry<u64> {
    Entry::Message(Message {
        tag: Tag(number),
        size: 100,
        sent_at_ms: None,
        expires_at: None,
        redelivered: false,
        body: number,
    })
}

fn outbound(count: u64) -> Outbound<u64> {
    let mut it = Outbound::new(Lane::Normal, StreamId([1; 16]), 1, 0, 0);
    (1..=count).for_each(|number| it.load(number, message(number)));
    it
}

fn ack(up_to: u64) -> Ack {
    let (tag, rejected) = (Tag(up_to), Vec::new());
    Ack { handle: 1, up_to, tag, credit_to: up_to + 64, credit_bytes: 1 << 18, rejected }
}

fn sent(it: &mut Outbound<u64>) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| it.transmit().map(|(from, to, ..)| (from, to))).collect()
}

#[test]
fn what_is_voided_takes_no_memory_for_each() {
    let mut it = outbound(1_000);
    let voided = it.void(|message| (message.body % 500 != 0).then_some(SkipReason::Expired));
    assert_eq!((voided.len(), it.slots.len()), (998, 4));
    assert_eq!(it.waiting(), Waiting { messages: 2, bytes: 200 });
    it.announce(1);
    assert_eq!(sent(&mut it), [(1, 499)], "the initial credit ends before number 500");
    assert!(matches!(it.on_ack(&Ack { tag: Tag(0), ..ack(499) }), Ok(Answer::Settled(_))));
    assert_eq!(sent(&mut it), [(500, 500), (501, 999)]);
}

#[test]
fn what_is_voided_for_changing_reasons_takes_no_memory_for_each() {
    let mut it = outbound(0);
    for number in 1..=10_000 {
        it.load(number, message(number));
        let reason = if number % 2 == 0 { SkipReason::Expired } else { SkipReason::QueueFull };
        assert_eq!(it.void(|_| Some(reason)).len(), 1);
        assert!(it.slots.len() <= MAX_VOIDS, "{} slots", it.slots.len());
    }
    it.announce(1);
    let last = std::iter::from_fn(|| {
        let (from, to) = sent(&mut it).last().copied()?;
        assert!(matches!(it.on_ack(&Ack { tag: Tag(0), ..ack(to) }), Ok(Answer::Settled(_))));
        Some((from, to))
    });
    assert_eq!(last.last().map(|(_, to)| to), Some(10_000), "every number is accounted for");
    assert!(!it.is_waiting());
}

#[test]
fn an_acknowledgement_settles_up_to_its_number_and_allows_more() {
    let mut it = outbound(100);
    it.announce(1);
    assert_eq!(sent(&mut it).len(), 8);
    let Ok(Answer::Settled(settled)) = it.on_ack(&ack(3)) else { panic!("foreign") };
    assert_eq!(settled, [(Tag(1), false), (Tag(2), false), (Tag(3), false)]);
    assert_eq!(sent(&mut it).last(), Some(&(67, 67)));
    for (up_to, low, high) in [(2, 3, 67), (68, 3, 67)] {
        let error = it.on_ack(&ack(up_to)).err();
        let bad = Violation::BadAck { handle: 1, up_to, from: low, to: high };
        assert_eq!(error, Some(bad));
    }
}

#[test]
fn nothing_is_sent_before_the_position_is_known() {
    let mut it = outbound(10);
    it.announce(1);
    sent(&mut it);
    it.disconnect();
    it.announce(1);
    assert_eq!(sent(&mut it), []);
    assert!(it.void(|_| Some(SkipReason::Expired)).iter().all(|(message, _)| message.body > 8));
    it.on_ack(&ack(5)).map(drop).unwrap();
    let again: Vec<_> = std::iter::from_fn(|| it.transmit().map(|sent| (sent.0, sent.2))).collect();
    assert_eq!(again, [(6, true), (7, true), (8, true), (9, false)]);
}

#[test]
fn a_receiver_that_knows_more_or_another_message_is_foreign() {
    for wrong in [ack(11), Ack { tag: Tag(77), ..ack(4) }] {
        let mut it = outbound(10);
        it.announce(1);
        sent(&mut it);
        it.disconnect();
        it.announce(1);
        assert!(matches!(it.on_ack(&wrong), Ok(Answer::Foreign)));
        it.renumber(StreamId([2; 16]), wrong.up_to);
        let resume = it.announce(2);
        assert_eq!((resume.oldest, resume.newest), (1, 10));
        let Some((1, 1, _, Entry::Message(first))) = it.transmit() else { panic!("nothing") };
        assert!(first.redelivered);
    }
}

#[test]
fn a_message_bigger_than_the_credit_goes_alone() {
    let mut it = Outbound::new(Lane::Normal, StreamId([1; 16]), 1, 0, 0);
    for number in 1..=3 {
        let Entry::Message(one) = message(number) else { unreachable!() };
        let size = if number == 2 { 1 << 20 } else { 100 };
        it.load(number, Entry::Message(Message { size, ..one }));
    }
    it.announce(1);
    for number in 1..=3 {
        assert_eq!(sent(&mut it), [(number, number)]);
        it.on_ack(&ack(number)).map(drop).unwrap();
    }
}

#[test]
fn what_is_rewound_is_sent_again() {
    let mut it = outbound(6);
    it.announce(1);
    sent(&mut it);
    it.rewind(1, 2).unwrap();
    let again: Vec<_> = std::iter::from_fn(|| it.transmit().map(|sent| (sent.0, sent.2))).collect();
    assert_eq!(again, [(3, true), (4, true), (5, true), (6, true)]);
    assert!(it.rewind(1, 7).is_err());
}

#[test]
fn what_is_refused_is_skipped_and_settled_no_more() {
    let mut it = outbound(2);
    it.announce(1);
    assert!(it.transmit().is_some());
    assert_eq!(it.refuse(1, SkipReason::TooBig), Some(Tag(1)));
    assert_eq!(it.refuse(2, SkipReason::TooBig), None, "it was not sent");
    let Ok(Answer::Settled(settled)) = it.on_ack(&Ack { tag: Tag(0), ..ack(1) }) else {
        panic!("foreign")
    };
    assert_eq!((settled, it.waiting()), (vec![], Waiting { messages: 1, bytes: 100 }));
    assert_eq!(it.unsent().count(), 1);
    sent(&mut it);
    assert_eq!(it.unsent().count(), 0, "it may have arrived");
}
