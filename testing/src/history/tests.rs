//! Histories with one fault each, which has to be found, and with what only looks like one.

mod storage;

use super::{
    Answer, Direction, Entry, Fate, Finding, History, Lane, Message, Place, Program, Verdict,
};

fn up(number: u64) -> Message {
    Message { direction: Direction::Up, lane: Lane::Normal, number }
}

/// A history that is written message by message.
#[derive(Default)]
struct Story(History);

impl Story {
    /// Sends these messages one after the other, each of which is accepted.
    fn sends(self, place: Place, numbers: impl IntoIterator<Item = u64>) -> Self {
        for number in numbers {
            self.0.add(Entry::Sent(up(number)));
            self.0.add(Entry::Answered(up(number), Answer::Accepted(place, id(number))));
        }
        self
    }

    fn answers(self, number: u64, answer: Answer) -> Self {
        self.0.add(Entry::Sent(up(number)));
        self.then(Entry::Answered(up(number), answer))
    }

    fn receives(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        numbers.into_iter().fold(self, |story, number| story.receives_with(number, number, false))
    }

    fn receives_with(self, number: u64, id_of: u64, redelivered: bool) -> Self {
        self.then(Entry::Received { message: up(number), id: id(id_of), redelivered })
    }

    fn then(self, entry: Entry) -> Self {
        self.0.add(entry);
        self
    }

    fn verdict(self) -> Verdict {
        self.0.verdict()
    }

    fn findings(self) -> Vec<Finding> {
        self.verdict().findings
    }
}

fn id(number: u64) -> Option<String> {
    Some(format!("{number:016x}"))
}

#[test]
fn a_history_without_a_fault_is_clean() {
    let verdict = Story::default().sends(Place::Disk, 1..=3).receives(1..=3).verdict();
    assert!(verdict.is_clean());
    let expected = Verdict { sent: 3, accepted: 3, received: 3, ..Verdict::default() };
    assert_eq!(verdict, expected);
}

#[test]
fn a_lost_message_is_found() {
    for place in [Place::Read, Place::Memory, Place::Disk] {
        let findings = Story::default().sends(place, 1..=3).receives([1, 3]).findings();
        assert_eq!(findings, [Finding::Lost(up(2))], "{place:?}");
    }
}

#[test]
fn a_message_that_was_handed_to_a_connection_may_be_lost() {
    let verdict = Story::default().sends(Place::Connection, 1..=3).receives([1, 3]).verdict();
    assert_eq!((&verdict.lost[..], &verdict.findings[..]), (&[up(2)][..], &[][..]));
    assert!(!verdict.is_clean());
}

#[test]
fn a_message_that_is_reported_as_lost_may_be_missing() {
    let story = Story::default().sends(Place::Disk, 1..=2).receives([2]);
    let verdict = story.then(Entry::Reported(up(1), Fate::Lost)).verdict();
    assert!(verdict.is_clean());
    assert_eq!(verdict.reported_lost, [up(1)]);
}

#[test]
fn a_message_that_is_reported_as_lost_must_not_arrive() {
    let story = Story::default().sends(Place::Disk, 1..=1);
    let story = story.then(Entry::Reported(up(1), Fate::Lost)).receives([1]);
    assert_eq!(story.findings(), [Finding::LostButReceived(up(1))]);
}

#[test]
fn a_false_report_of_delivery_is_found() {
    for answer in [Answer::Accepted(Place::Connection, None), Answer::Unknown] {
        let story = Story::default().answers(1, answer);
        let story = story.then(Entry::Reported(up(1), Fate::Delivered));
        assert_eq!(story.findings(), [Finding::Lost(up(1))]);
    }
}

#[test]
fn a_repeat_without_the_flag_is_found() {
    let story = Story::default().sends(Place::Disk, 1..=2).receives([1, 2, 1]);
    assert_eq!(story.findings(), [Finding::Doubled(up(1))]);
}

#[test]
fn a_repeat_with_the_flag_and_the_same_id_is_right() {
    let story = Story::default().sends(Place::Disk, 1..=2).receives([1, 2]);
    let verdict = story.receives_with(1, 1, true).verdict();
    assert!(verdict.is_clean());
    assert_eq!((verdict.received, verdict.again), (2, 1));
}

#[test]
fn a_repeat_with_another_id_is_found() {
    let story = Story::default().sends(Place::Disk, 1..=1).receives([1]).receives_with(1, 9, true);
    assert_eq!(story.findings(), [Finding::OtherId(up(1))]);
}

#[test]
fn a_repeat_with_the_flag_but_without_an_id_is_found() {
    let again = Entry::Received { message: up(1), id: None, redelivered: true };
    let story = Story::default().sends(Place::Disk, 1..=1).receives([1]).then(again);
    assert_eq!(story.findings(), [Finding::Doubled(up(1))]);
}

#[test]
fn messages_in_another_order_are_found() {
    let story = Story::default().sends(Place::Disk, 1..=4).receives([1, 3, 4, 2]);
    assert_eq!(story.findings(), [Finding::Reordered(up(2), up(4))]);
}

#[test]
fn a_repeat_is_not_in_another_order() {
    let story = Story::default().sends(Place::Disk, 1..=3).receives([1, 2]);
    assert!(story.receives_with(1, 1, true).receives([3]).verdict().is_clean());
}

#[test]
fn there_is_no_order_between_lanes_and_directions() {
    let story = Story::default().sends(Place::Disk, 1..=1);
    let mut others = [up(2), up(2)];
    others[0].lane = Lane::Urgent;
    others[1].direction = Direction::Down;
    let mut story = story;
    for message in others {
        story = story.then(Entry::Sent(message));
        story = story.then(Entry::Answered(message, Answer::Accepted(Place::Disk, id(2))));
        story = story.then(Entry::Received { message, id: id(2), redelivered: false });
    }
    assert!(story.receives([1]).verdict().is_clean());
}

#[test]
fn a_message_with_a_lost_answer_has_no_place_in_the_order() {
    let story = Story::default().answers(1, Answer::Unknown).sends(Place::Disk, 2..=2);
    assert!(story.receives([2, 1]).verdict().is_clean());
    let missing = Story::default().answers(1, Answer::Unknown).verdict();
    assert!(missing.is_clean() && missing.unknown == 1);
}

#[test]
fn a_message_without_a_sender_is_found() {
    assert_eq!(Story::default().receives([1]).findings(), [Finding::Unsent(up(1))]);
}

#[test]
fn a_refused_message_must_not_arrive() {
    let refused = || Story::default().answers(1, Answer::Refused);
    assert!(refused().verdict().is_clean());
    assert_eq!(refused().receives([1]).findings(), [Finding::RefusedButReceived(up(1))]);
}

#[test]
fn what_a_killed_device_had_in_memory_may_be_lost() {
    let story = |program| {
        let story = Story::default().sends(Place::Memory, 1..=3).receives([1]);
        story.then(Entry::Killed(program)).sends(Place::Memory, 4..=4).receives([4])
    };
    let verdict = story(Program::Device).verdict();
    assert_eq!((&verdict.lost[..], &verdict.findings[..]), (&[up(2), up(3)][..], &[][..]));
    let findings = story(Program::Cloud).findings();
    assert_eq!(findings, [Finding::Lost(up(2)), Finding::Lost(up(3))]);
}

#[test]
fn what_a_killed_cloud_had_read_may_be_lost() {
    let story = |program| {
        let story = Story::default().sends(Place::Read, 1..=3).receives([1]);
        story.then(Entry::Killed(program)).sends(Place::Read, 4..=4).receives([4])
    };
    let verdict = story(Program::Cloud).verdict();
    assert_eq!((&verdict.lost[..], &verdict.findings[..]), (&[up(2), up(3)][..], &[][..]));
    let findings = story(Program::Device).findings();
    assert_eq!(findings, [Finding::Lost(up(2)), Finding::Lost(up(3))]);
    let hole = Story::default().sends(Place::Read, 1..=3).receives([1, 3]);
    let findings = hole.then(Entry::Killed(Program::Cloud)).findings();
    assert_eq!(findings, [Finding::Lost(up(2))]);
}

#[test]
fn a_kill_does_not_excuse_what_was_sent_after_it() {
    let story = Story::default().then(Entry::Killed(Program::Device)).sends(Place::Memory, 1..=1);
    assert_eq!(story.findings(), [Finding::Lost(up(1))]);
}

#[test]
fn a_kill_does_not_excuse_a_hole() {
    let story = Story::default().sends(Place::Memory, 1..=3).receives([1, 3]);
    let findings = story.then(Entry::Killed(Program::Device)).findings();
    assert_eq!(findings, [Finding::Lost(up(2))]);
}

#[test]
fn a_kill_does_not_excuse_what_was_on_disk() {
    let story = Story::default().sends(Place::Disk, 1..=1).then(Entry::Killed(Program::Device));
    assert_eq!(story.findings(), [Finding::Lost(up(1))]);
}

#[test]
fn an_application_that_stores_ids_acts_once() {
    let story = || {
        let story = Story::default().sends(Place::Disk, 1..=1).receives([1]);
        story.then(Entry::Applied(up(1))).receives_with(1, 1, true)
    };
    assert!(story().verdict().is_clean());
    assert_eq!(story().then(Entry::Applied(up(1))).findings(), [Finding::AppliedTwice(up(1))]);
}
