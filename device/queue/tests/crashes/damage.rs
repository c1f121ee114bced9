//! Damaged, read-only and failing disks.

use fedecks_device_queue::{DamageReason, Directory, Full, Item, Limits, Lost, Queue, Record};
use fedecks_protocol::{Lane, SkipReason, StreamId, Tag};

use crate::simulated_disk::SimulatedDisk;

const STREAM: StreamId = StreamId([7; 16]);

fn message(sequence: u64) -> Record {
    let item = Item::Message { raw: false, body: vec![1; 58] };
    Record { sequence, tag: Tag(sequence), sent_at_ms: 0, expires_at_ms: 1000, item }
}

/// Five records of 100 bytes to a segment.
fn limits() -> Limits {
    Limits { segment_bytes: 540, free_bytes: 0, ..Limits::default() }
}

fn filled(lane: Lane, messages: u64) -> Queue<SimulatedDisk> {
    let mut queue = Queue::open(SimulatedDisk::new(0), limits()).queue;
    for sequence in 1..=messages {
        queue.append(STREAM, lane, message(sequence)).unwrap();
    }
    queue.flush().unwrap();
    queue
}

fn numbers(records: &[Record]) -> Vec<(u64, u64, bool)> {
    let number =
        |one: &Record| (one.sequence, one.last(), matches!(one.item, Item::Message { .. }));
    records.iter().map(number).collect()
}

#[test]
fn damage_skips_the_rest_of_its_segment_only() {
    let mut disk = filled(Lane::Normal, 7).into_directory();
    disk.damage("0000000000000000.segment", 40 + 250);
    let mut opened = Queue::open(disk, limits());
    let found: Vec<_> = opened.damage.iter().map(|one| (one.stream, one.from, one.to)).collect();
    assert_eq!(found, [(Some(STREAM), 3, 5)]);
    assert_eq!(opened.damage[0].reason, DamageReason::Records);
    let read = opened.queue.read(STREAM, 0, 100, 10_000).unwrap();
    let expected = [(1, 1, true), (2, 2, true), (3, 5, false), (6, 6, true), (7, 7, true)];
    assert_eq!(numbers(&read), expected);
}

#[test]
fn dropped_segment_is_void_after_a_restart() {
    let mut queue = filled(Lane::Normal, 12);
    for (from, to) in [(1, 5), (6, 10)] {
        let (reason, count) = (SkipReason::QueueFull, 5);
        let tags = (from..=to).map(Tag).collect();
        let lost = Lost { stream: STREAM, lane: Lane::Normal, from, to, count, tags, reason };
        assert_eq!(queue.drop_oldest(Lane::Normal, None, &[]), Ok(Some(lost)));
    }
    let mut opened = Queue::open(queue.into_directory(), limits());
    assert_eq!(opened.damage, []);
    let read = opened.queue.read(STREAM, 0, 100, 10_000).unwrap();
    assert_eq!(numbers(&read), [(1, 10, false), (11, 11, true), (12, 12, true)]);
}

#[test]
fn an_acknowledged_segment_is_not_lost_when_it_is_dropped() {
    let mut queue = filled(Lane::Normal, 3);
    queue.acknowledged(STREAM, 3).unwrap();
    assert_eq!(queue.drop_oldest(Lane::Normal, None, &[]), Ok(None));
    queue.append(STREAM, Lane::Normal, message(4)).unwrap();
    queue.flush().unwrap();
    let lost = queue.drop_oldest(Lane::Normal, None, &[]).unwrap().unwrap();
    assert_eq!((lost.from, lost.to, lost.count), (4, 4, 1));
    let reopened = Queue::open(queue.into_directory(), limits());
    assert!(reopened.damage.is_empty(), "{:?}", reopened.damage);
}

#[test]
fn what_was_acknowledged_before_it_was_written_is_not_missing() {
    let mut queue = filled(Lane::Normal, 3);
    queue.acknowledged(STREAM, 8).unwrap();
    queue.append(STREAM, Lane::Normal, message(9)).unwrap();
    queue.flush().unwrap();
    let mut opened = Queue::open(queue.into_directory(), limits());
    assert_eq!(opened.damage, []);
    let found: Vec<_> = opened.found.iter().map(|one| (one.first, one.last)).collect();
    assert_eq!(found, [(9, 9)]);
    assert_eq!(numbers(&opened.queue.read(STREAM, 0, 9, 999).unwrap()), [(9, 9, true)]);
}

#[test]
fn urgent_lane_drops_only_what_has_expired() {
    let mut queue = filled(Lane::Urgent, 5);
    assert_eq!(queue.drop_oldest(Lane::Urgent, Some(999), &[]), Err(Full));
    let lost = queue.drop_oldest(Lane::Urgent, Some(1000), &[]).unwrap().unwrap();
    assert_eq!((lost.from, lost.to, lost.reason), (1, 5, SkipReason::Expired));
}

#[test]
fn acknowledged_messages_never_touch_the_disk() {
    let mut queue = filled(Lane::Normal, 0);
    queue.append(STREAM, Lane::Normal, message(1)).unwrap();
    queue.acknowledged(STREAM, 1).unwrap();
    queue.flush().unwrap();
    assert_eq!(queue.directory().list().unwrap(), []);
}

#[test]
fn failed_sync_writes_to_another_segment() {
    let mut queue = filled(Lane::Normal, 2);
    queue.append(STREAM, Lane::Normal, message(3)).unwrap();
    queue.directory().failing_syncs = 1;
    queue.flush().unwrap_err();
    queue.directory().failing_syncs = 0;
    queue.flush().unwrap();
    let mut disk = queue.into_directory();
    disk.restart();
    let mut opened = Queue::open(disk, limits());
    let read = opened.queue.read(STREAM, 0, 100, 10_000).unwrap();
    assert_eq!(numbers(&read), [(1, 1, true), (2, 2, true), (3, 3, true)]);
}

#[test]
fn read_only_disk_keeps_messages_in_memory() {
    let mut queue = filled(Lane::Normal, 0);
    queue.directory().read_only = true;
    queue.append(STREAM, Lane::Normal, message(1)).unwrap();
    queue.flush().unwrap_err();
    assert_eq!(numbers(&queue.read(STREAM, 0, 9, 999).unwrap()), [(1, 1, true)]);
}

#[test]
fn ninth_stream_gives_up_the_oldest() {
    let mut queue = filled(Lane::Normal, 2);
    for other in 20..27 {
        let lost = queue.append(StreamId([other; 16]), Lane::Normal, message(1)).unwrap();
        assert_eq!(lost, []);
    }
    let lost = queue.append(StreamId([30; 16]), Lane::Normal, message(1)).unwrap();
    let given_up: Vec<_> = lost.iter().map(|one| (one.stream, one.from, one.to)).collect();
    assert_eq!(given_up, [(STREAM, 1, 2)]);
}
