//! Histories of a fleet with one breach each, which has to be found, and with what only looks like one.

use std::time::Duration;

use super::{FleetEntry, FleetFinding, FleetRecord, check};
use crate::history::{Direction, Lane, Message};

fn up(number: u64) -> Message {
    Message { direction: Direction::Up, lane: Lane::Normal, number }
}

/// Entries at these times, in tenths of a second.
fn findings(entries: impl IntoIterator<Item = (u64, FleetEntry)>) -> Vec<FleetFinding> {
    let record = |(at, entry)| FleetRecord { at: tenths(at), entry };
    check(&entries.into_iter().map(record).collect::<Vec<_>>())
}

fn tenths(number: u64) -> Duration {
    Duration::from_millis(number * 100)
}

fn serves(asked: u64, node: usize) -> (u64, FleetEntry) {
    (asked + 1, FleetEntry::Serves { node, device: 7, asked: tenths(asked) })
}

fn established(at: u64, session: u64) -> (u64, FleetEntry) {
    (at, FleetEntry::Established { device: 7, session })
}

fn acknowledged(at: u64, session: u64, number: u64) -> (u64, FleetEntry) {
    (at, FleetEntry::Acknowledged { device: 7, session, message: up(number) })
}

fn open(asked: u64, session: u64) -> (u64, FleetEntry) {
    (asked + 1, FleetEntry::Open { node: 1, device: 7, session, asked: tenths(asked) })
}

fn delivered(at: u64, number: u64, id: &str) -> (u64, FleetEntry) {
    (at, FleetEntry::Delivered { device: 7, message: up(number), id: id.to_owned() })
}

fn shown(at: u64, number: u64) -> (u64, FleetEntry) {
    (at, FleetEntry::Shown { node: 0, device: 7, message: up(number) })
}

#[test]
fn a_revoked_device_is_refused_within_two_seconds() {
    let history = |last| [serves(0, 1), (10, FleetEntry::Revoked(7)), serves(last, 1)];
    assert_eq!(findings(history(30)), []);
    assert_eq!(findings(history(31)), [FleetFinding::NotRefused(7, 1)]);
}

#[test]
fn a_server_that_is_cut_off_may_not_know_a_revocation() {
    let says = |at, node, is_cut_off| (at, FleetEntry::Says { node, is_cut_off });
    let revoked = (0, FleetEntry::Revoked(7));
    assert_eq!(findings([revoked.clone(), says(95, 1, true), serves(100, 1)]), []);
    assert_eq!(findings([revoked.clone(), serves(100, 1), says(105, 1, true)]), []);
    let returned = (85, FleetEntry::Returns(1));
    assert_eq!(findings([revoked.clone(), returned, serves(100, 1)]), []);
    let found = [FleetFinding::NotRefused(7, 1)];
    for other in [
        says(95, 1, false),
        says(95, 2, true),
        says(90, 1, true),
        (95, FleetEntry::Returns(2)),
        (79, FleetEntry::Returns(1)),
    ] {
        assert_eq!(findings([revoked.clone(), other.clone(), serves(100, 1)]), found, "{other:?}");
    }
}

#[test]
fn a_superseded_session_accepts_nothing_new() {
    let before = (0, FleetEntry::Made(7, up(1)));
    let after = (20, FleetEntry::Made(7, up(2)));
    let history = |session, number| {
        let (before, after) = (before.clone(), after.clone());
        [established(0, 3), before, established(10, 4), after, acknowledged(21, session, number)]
    };
    let of_webhook = |number| FleetFinding::NotDelivered(7, up(number));
    assert_eq!(findings(history(3, 1)), [of_webhook(1)], "it was made before");
    assert_eq!(findings(history(4, 2)), [of_webhook(2)], "that is the newest session");
    let found = [FleetFinding::AcceptedBySuperseded(7, 3, up(2)), of_webhook(2)];
    assert_eq!(findings(history(3, 2)), found);
}

#[test]
fn a_superseded_session_gets_nothing_new() {
    let down = Message { direction: Direction::Down, ..up(5) };
    let handed = |session| (30, FleetEntry::HandedOver { device: 7, session, message: down });
    let made = (20, FleetEntry::Made(7, down));
    let history = |session| [established(10, 4), made.clone(), handed(session)];
    assert_eq!(findings(history(4)), []);
    assert_eq!(findings(history(3)), [FleetFinding::HandedToSuperseded(7, 3, down)]);
}

#[test]
fn a_superseded_session_ends_within_two_seconds() {
    assert_eq!(findings([established(0, 4), open(20, 3), open(90, 4)]), []);
    let found = [FleetFinding::StaysOpen(7, 3, 1)];
    assert_eq!(findings([established(0, 4), open(21, 3), open(22, 3)]), found);
    let cut_off = (25, FleetEntry::Says { node: 1, is_cut_off: true });
    assert_eq!(findings([established(0, 4), cut_off, open(26, 3)]), []);
}

#[test]
fn a_device_is_back_within_fifteen_seconds() {
    let back = |seconds| FleetEntry::Back { device: 7, away: Duration::from_secs(seconds) };
    assert_eq!(findings([(0, back(15))]), []);
    let found = [FleetFinding::Away(7, Duration::from_secs(16))];
    assert_eq!(findings([(0, back(16))]), found);
}

#[test]
fn the_presence_converges_within_thirty_seconds() {
    let history = |at| {
        let converged = |node, at| (at, FleetEntry::Converged(node));
        let over = (100, FleetEntry::FaultsOver);
        let ended = (900, FleetEntry::Ended(vec![0, 1]));
        [converged(1, 50), over, converged(0, 110), converged(1, at), ended]
    };
    assert_eq!(findings(history(400)), []);
    assert_eq!(findings(history(401)), [FleetFinding::NotConverged(1)]);
}

#[test]
fn a_webhook_gets_each_message_in_order() {
    let acknowledged = || [acknowledged(1, 1, 1), acknowledged(2, 1, 2)];
    let history = |deliveries: &[(u64, FleetEntry)]| {
        findings(acknowledged().into_iter().chain(deliveries.iter().cloned()))
    };
    let [first, second] = [delivered(3, 1, "a"), delivered(4, 2, "b")];
    assert_eq!(history(&[first.clone(), second.clone()]), []);
    // Again after a crash, by the same id.
    assert_eq!(history(&[first.clone(), second.clone(), first.clone()]), []);
    assert_eq!(history(std::slice::from_ref(&second)), [FleetFinding::NotDelivered(7, up(1))]);
    let late = FleetFinding::DeliveredLate(7, up(1), up(2));
    assert_eq!(history(&[second.clone(), first.clone()]), [late]);
    let twice = FleetFinding::DeliveredByTwoIds(7, up(1));
    assert_eq!(history(&[first, second, delivered(5, 1, "c")]), [twice]);
}

#[test]
fn an_event_stream_shows_each_message_or_a_gap() {
    let gap = |at| (at, FleetEntry::Gap(0));
    let history = |events: &[(u64, FleetEntry)]| {
        let messages = (1..=3).flat_map(|it| [acknowledged(1, 1, it), delivered(2, it, "x")]);
        findings(messages.chain(events.iter().cloned()))
    };
    assert_eq!(history(&[gap(0), shown(3, 1), shown(4, 2), shown(5, 3)]), []);
    assert_eq!(history(&[gap(0), shown(3, 1), gap(4), shown(5, 3)]), []);
    assert_eq!(history(&[gap(0), shown(3, 3)]), [], "it began late");
    let found = |number| [FleetFinding::NotShown(0, 7, up(number))];
    assert_eq!(history(&[gap(0), shown(3, 1), shown(5, 3)]), found(2));
    assert_eq!(history(&[gap(0), shown(3, 1), shown(4, 2)]), found(3));
    assert_eq!(history(&[gap(0), shown(3, 1), shown(4, 3), gap(5)]), [], "noticed later");
    assert_eq!(history(&[shown(3, 1), gap(4), shown(4, 2)]), found(3), "a gap before");
}

#[test]
fn what_is_against_the_protocol_is_found() {
    let broken = || "7 came after 5".to_owned();
    assert_eq!(findings([(0, FleetEntry::Broken(broken()))]), [FleetFinding::Broken(broken())]);
}
