//! Tests of one receiver.

use super::*;

const STREAM: StreamId = StreamId([1; 16]);
const NOW: Duration = Duration::from_secs(1);

fn resume(handle: u64, oldest: u64) -> Resume {
    Resume { handle, lane: Lane::Normal, stream: STREAM, oldest, newest: oldest.max(99) }
}

fn announced() -> Receiver {
    let mut it = Receiver::new(Credit::MAX);
    it.on_resume(&resume(1, 1)).unwrap();
    let ack = it.poll_ack(NOW).unwrap();
    assert_eq!((ack.up_to, ack.credit_to, ack.credit_bytes), (0, 64, 256 * 1024));
    assert_eq!(it.poll_ack(NOW), None);
    it
}

fn message(it: &mut Receiver, sequence: u64) -> Result<bool, Violation> {
    it.on_message(1, (sequence, Tag(sequence), 100))
}

#[test]
fn the_position_moves_in_order_whatever_is_done_first() {
    let mut it = announced();
    (1..=3).for_each(|sequence| assert_eq!(message(&mut it, sequence), Ok(true)));
    assert_eq!(it.done(1, 2, Outcome::Processed, NOW), None);
    assert_eq!(
        it.done(1, 1, Outcome::Rejected, NOW).map(|moved| (moved.from, moved.to.up_to)),
        Some((0, 2))
    );
    assert_eq!(it.poll_ack(NOW), None, "there may be more");
    assert_eq!(it.ack_deadline(), Some(NOW + DELAY));
    let ack = it.poll_ack(NOW + DELAY).unwrap();
    assert_eq!((ack.up_to, ack.tag, &ack.rejected[..]), (2, Tag(2), &[1][..]));
    assert_eq!(it.done(1, 9, Outcome::Processed, NOW), None);
}

#[test]
fn an_ack_is_due_at_once_after_32_messages_or_64_kib() {
    let mut it = announced();
    for sequence in 1..=32 {
        message(&mut it, sequence).unwrap();
        assert_eq!(it.poll_ack(NOW), None);
        it.done(1, sequence, Outcome::Processed, NOW);
    }
    assert_eq!(it.poll_ack(NOW).map(|ack| ack.up_to), Some(32));
    it.on_message(1, (33, Tag(33), 64 * 1024)).unwrap();
    it.done(1, 33, Outcome::Processed, NOW);
    assert_eq!(it.poll_ack(NOW).map(|ack| ack.up_to), Some(33));
}

#[test]
fn credit_is_enforced_in_messages_and_bytes() {
    let mut it = announced();
    (1..=64).for_each(|sequence| assert_eq!(message(&mut it, sequence), Ok(true)));
    let over = Violation::OverCredit { handle: 1, sequence: 65, credit_to: 64 };
    assert_eq!(message(&mut it, 65), Err(over));
    let mut it = announced();
    assert_eq!(it.on_message(1, (1, Tag(1), 1 << 30)), Ok(true), "a big one alone");
    let over = Violation::TooManyBytes { handle: 1, limit: 256 * 1024 };
    assert_eq!(message(&mut it, 2), Err(over));
}

#[test]
fn another_number_is_a_violation_unless_it_is_repeated() {
    let mut it = announced();
    let wrong = |found, expected| Err(Violation::OutOfOrder { handle: 1, expected, found });
    assert_eq!(message(&mut it, 2), wrong(2, 1));
    (1..=3).for_each(|sequence| assert_eq!(message(&mut it, sequence), Ok(true)));
    assert_eq!(message(&mut it, 3), wrong(3, 4));
    it.done(1, 1, Outcome::Processed, NOW);
    assert_eq!(it.rewind(1), Some(1));
    assert_eq!(message(&mut it, 4), Ok(false), "on its way before the other end knew");
    assert_eq!(message(&mut it, 2), Ok(true));
    assert_eq!(message(&mut it, 4), wrong(4, 3));
}

#[test]
fn a_receiver_that_was_set_back_goes_on_at_the_oldest() {
    let mut it = Receiver::new(Credit::MAX);
    it.restore(STREAM, Lane::Normal, Position { up_to: 3, tag: Tag(3) });
    let gap = it.on_resume(&resume(1, 7)).unwrap().unwrap();
    assert_eq!((gap.is_known, gap.from, gap.to, gap.advance.from), (true, 4, 6, 3));
    assert_eq!(it.poll_ack(NOW).map(|ack| (ack.up_to, ack.tag)), Some((6, Tag(0))));
    assert_eq!(message(&mut it, 7), Ok(true));
    let mut new = Receiver::new(Credit::MAX);
    assert!(!new.on_resume(&resume(1, 7)).unwrap().unwrap().is_known);
    it.disconnect();
    assert_eq!(it.on_resume(&resume(2, u64::MAX)).unwrap().map(|gap| gap.to), Some(u64::MAX - 1));
    assert_eq!(it.on_message(2, (u64::MAX, Tag(1), 1)), Ok(true));
    it.done(2, u64::MAX, Outcome::Processed, NOW);
    assert!(it.poll_ack(NOW + DELAY).is_some());
}

#[test]
fn no_more_streams_than_allowed_are_open_or_remembered() {
    let mut it = Receiver::new(Credit::MAX);
    let stream = |number: u8| StreamId([number; 16]);
    for number in 0..20 {
        it.restore(stream(number), Lane::Normal, Position { up_to: 1, tag: Tag(1) });
    }
    for handle in 1..=8 {
        let resume = Resume { stream: stream(100 + handle as u8), ..resume(handle, 1) };
        it.on_resume(&resume).unwrap();
    }
    let ninth = Resume { stream: stream(200), ..resume(9, 1) };
    let limit = MAX_STREAMS;
    assert_eq!(it.on_resume(&ninth), Err(Violation::TooManyStreams { limit }));
    let twice = Resume { stream: stream(201), lane: Lane::Urgent, ..resume(1, 1) };
    assert_eq!(it.on_resume(&twice), Err(Violation::AnnouncedTwice { handle: 1 }));
}

#[test]
fn a_sender_that_has_forgotten_what_it_sent_may_repeat_it_but_not_replace_it() {
    for (tag, goes_on) in [(Tag(2), true), (Tag(77), false)] {
        let mut it = Receiver::new(Credit::MAX);
        it.restore(STREAM, Lane::Normal, Position { up_to: 2, tag: Tag(2) });
        it.on_resume(&resume(1, 1)).unwrap();
        assert_eq!(message(&mut it, 1), Ok(false));
        assert_eq!(it.on_message(1, (2, tag, 100)), Ok(false));
        assert_eq!(message(&mut it, 3), Ok(goes_on));
    }
}
