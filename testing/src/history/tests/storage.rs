//! Faults of the storage, what each of them excuses, and what is just outside of that.

use super::super::Erased;
use super::{
    Answer, Direction, Entry, Fate, Finding, Lane, Message, Place, Program, Story, id, up,
};

fn erased(holder: Program, numbers: &[u64]) -> Erased {
    Erased {
        holder,
        messages: numbers.iter().map(|number| up(*number)).collect(),
        ids: Default::default(),
        brought: Default::default(),
    }
}

/// The storage of a program is emptied, while it is away.
fn erases(story: Story, holder: Program, numbers: &[u64]) -> Story {
    story.then(Entry::Killed(holder)).then(Entry::Erased(erased(holder, numbers)))
}

fn down(number: u64) -> Message {
    Message { direction: Direction::Down, lane: Lane::Normal, number }
}

fn receives_down(story: Story, number: u64, id_of: u64, redelivered: bool) -> Story {
    story
        .then(Entry::Received { message: down(number), id: id(id_of), redelivered })
        .then(Entry::Applied(down(number)))
}

#[test]
fn what_was_erased_from_a_disk_or_a_store_may_be_missing() {
    for holder in [Program::Device, Program::Cloud] {
        let story = Story::default().sends(Place::Disk, 1..=3).receives([1]);
        let verdict = erases(story, holder, &[2, 3]).sends(Place::Disk, 4..=4).receives([4]);
        let verdict = verdict.verdict();
        assert_eq!((&verdict.lost[..], &verdict.findings[..]), (&[up(2), up(3)][..], &[][..]));
    }
}

#[test]
fn what_was_not_on_the_erased_disk_must_not_be_missing() {
    for holder in [Program::Device, Program::Cloud] {
        let story = Story::default().sends(Place::Disk, 1..=3).receives([1]);
        assert_eq!(erases(story, holder, &[2]).findings(), [Finding::Lost(up(3))]);
    }
}

#[test]
fn what_was_sent_after_the_erasure_must_not_be_missing() {
    for holder in [Program::Device, Program::Cloud] {
        let story = erases(Story::default(), holder, &[1]).sends(Place::Disk, 1..=1);
        assert_eq!(story.findings(), [Finding::Lost(up(1))]);
    }
}

#[test]
fn an_erased_disk_does_not_excuse_a_hole() {
    let story = Story::default().sends(Place::Disk, 1..=3).receives([1, 3]);
    assert_eq!(erases(story, Program::Device, &[2]).findings(), [Finding::Lost(up(2))]);
    let story = Story::default().sends(Place::Disk, 1..=2);
    let story = erases(story, Program::Device, &[1, 2]).sends(Place::Disk, 3..=3).receives([3]);
    assert!(story.findings().is_empty());
}

#[test]
fn what_was_reported_as_delivered_was_not_lost_with_the_store() {
    let story = Story::default().sends(Place::Disk, 1..=1);
    let story = story.then(Entry::Reported(up(1), Fate::Delivered));
    assert_eq!(erases(story, Program::Cloud, &[1]).findings(), [Finding::Lost(up(1))]);
}

/// A message to the device, with its id, that is accepted before or after the store has lost that id.
fn asks(answered_before: bool, ids: &[u64]) -> Story {
    let lost = Erased {
        ids: ids.iter().filter_map(|it| id(*it)).collect(),
        ..erased(Program::Cloud, &[])
    };
    let accepted = Entry::Answered(down(1), Answer::Accepted(Place::Disk, id(1)));
    let story = Story::default().then(Entry::Sent(down(1)));
    if answered_before {
        story.then(accepted).then(Entry::Erased(lost))
    } else {
        story.then(Entry::Erased(lost)).then(accepted)
    }
}

#[test]
fn a_message_in_a_lost_store_is_known_by_its_id() {
    assert_eq!(asks(true, &[1]).verdict().lost, [down(1)]);
    assert_eq!(asks(true, &[2]).findings(), [Finding::Lost(down(1))]);
}

#[test]
fn a_request_that_is_repeated_after_a_restore_may_have_a_new_id() {
    let twice = |story| receives_down(receives_down(story, 1, 7, false), 1, 1, false);
    assert!(twice(asks(false, &[7])).verdict().is_clean());
    let again = twice(asks(false, &[7]));
    let again = again.then(Entry::Received { message: down(1), id: id(7), redelivered: false });
    assert_eq!(again.findings(), [Finding::Doubled(down(1))]);
    assert_eq!(
        twice(asks(false, &[7])).then(Entry::Applied(down(1))).findings(),
        [Finding::AppliedTwice(down(1))]
    );
}

#[test]
fn any_other_new_id_is_found() {
    let twice = |story| receives_down(receives_down(story, 1, 7, false), 1, 1, true);
    // The store has not lost the first one.
    assert_eq!(twice(asks(false, &[])).findings(), [Finding::OtherId(down(1))]);
    // There was no reason to repeat the request.
    let story = receives_down(asks(true, &[1]), 1, 7, false);
    assert_eq!(story.findings(), [Finding::OtherId(down(1))]);
    // A third one.
    let story = receives_down(twice(asks(false, &[7])), 1, 8, true);
    assert_eq!(story.findings(), [Finding::OtherId(down(1))]);
}

/// Two messages of different starts of the device service: the second arrives first.
fn overtaken(faults: [bool; 3], is_killed: bool) -> Story {
    let fails = |story: Story, fails| {
        if fails { story.then(Entry::DiskFails).then(Entry::DiskWorks) } else { story }
    };
    let mut story = fails(Story::default().sends(Place::Disk, 1..=1), faults[0]);
    if is_killed {
        story = story.then(Entry::Killed(Program::Device));
    }
    story = fails(story, faults[1]).sends(Place::Disk, 2..=2).receives([2]);
    fails(story, faults[2]).receives([1])
}

#[test]
fn what_is_left_on_disk_is_late_only_while_it_fails() {
    assert!(overtaken([false, true, false], true).verdict().is_clean());
    let found = [Finding::Reordered(up(1), up(2))];
    assert_eq!(overtaken([true, false, true], true).findings(), found);
    assert_eq!(overtaken([true, true, true], false).findings(), found);
}

#[test]
fn a_disk_that_fails_does_not_excuse_a_loss() {
    let story = Story::default().sends(Place::Disk, 1..=1);
    let story = story.then(Entry::DiskFails).then(Entry::Killed(Program::Device));
    assert_eq!(story.then(Entry::DiskWorks).findings(), [Finding::Lost(up(1))]);
}

#[test]
fn what_is_on_disk_in_order_again_is_not_late() {
    // The failure lasts beyond the reception of the newer one, and began before it was sent.
    let story = Story::default().sends(Place::Disk, 1..=2).then(Entry::Killed(Program::Device));
    let story = story.then(Entry::DiskFails).sends(Place::Disk, 3..=3).receives([3, 2, 1]);
    assert_eq!(story.findings(), [Finding::Reordered(up(1), up(2))]);
}

#[test]
fn a_lost_message_may_come_from_a_copy() {
    let restored = |numbers: &[u64]| {
        Entry::Erased(Erased {
            brought: numbers.iter().map(|number| up(*number)).collect(),
            ..erased(Program::Device, &[])
        })
    };
    let lost = || Entry::Reported(up(1), Fate::Lost);
    let found = [Finding::LostButReceived(up(1))];
    let sent = || Story::default().sends(Place::Disk, 1..=1);
    assert!(sent().then(lost()).then(restored(&[1])).receives([1]).verdict().is_clean());
    assert!(sent().receives([1]).then(restored(&[1])).then(lost()).verdict().is_clean());
    assert_eq!(sent().then(lost()).then(restored(&[2])).receives([1]).findings(), found);
    assert_eq!(sent().then(restored(&[1])).then(lost()).receives([1]).findings(), found);
    assert_eq!(sent().then(lost()).receives([1]).then(restored(&[1])).findings(), found);
    let copied = || Entry::Copied([up(1)].into());
    assert!(sent().then(copied()).then(lost()).receives([1]).verdict().is_clean());
    assert_eq!(sent().then(lost()).receives([1]).then(copied()).findings(), found);
}

#[test]
fn a_copy_does_not_excuse_a_repeat_without_the_flag() {
    let story = Story::default().sends(Place::Disk, 1..=1).receives([1]);
    let story = story.then(Entry::Copied([up(1)].into())).receives([1]);
    assert_eq!(story.findings(), [Finding::Doubled(up(1))]);
}
