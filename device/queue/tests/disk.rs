//! The queue on the real file system.

use std::path::Path;

use fedecks_device_queue::{Disk, Item, Limits, Owner, Position, Positions, Queue, Record};
use fedecks_protocol::{InstallationId, Lane, StreamId, Tag};

const STREAM: StreamId = StreamId([7; 16]);

fn message(sequence: u64) -> Record {
    let item = Item::Message { raw: true, body: vec![1; 100] };
    Record { sequence, tag: Tag(sequence), sent_at_ms: 0, expires_at_ms: 0, item }
}

#[test]
fn messages_are_there_after_a_restart() {
    for in_place in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue");
        let disk = || Disk::new(&path).with_overwriting(in_place);
        let mut queue = Queue::open(disk(), Limits::default()).queue;
        for sequence in 1..=4000 {
            queue.append(STREAM, Lane::Urgent, message(sequence)).unwrap();
            if sequence % 500 == 0 {
                queue.flush().unwrap();
            }
        }
        drop(queue);
        let mut opened = Queue::open(disk(), Limits::default());
        assert_eq!((opened.found[0].first, opened.found[0].last), (1, 4000));
        assert_eq!((opened.found[0].messages, opened.damage.len()), (4000, 0));
        let read = opened.queue.read(STREAM, 3990, 64, 1 << 20).unwrap();
        assert_eq!(read, (3991..=4000).map(message).collect::<Vec<_>>());
        opened.queue.acknowledged(STREAM, 4000).unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }
}

#[test]
fn directory_that_cannot_exist_gives_an_empty_queue() {
    // Neither root nor anyone else can create or write files there.
    let mut opened = Queue::open(Disk::new(Path::new("/proc/fedecks/queue")), Limits::default());
    assert!(opened.error.is_some());
    opened.queue.append(STREAM, Lane::Normal, message(1)).unwrap();
    opened.queue.flush().unwrap_err();
    let mut opened = Queue::open(Disk::new(Path::new("/proc/self")), Limits::default());
    assert_eq!(opened.found, []);
    opened.queue.append(STREAM, Lane::Normal, message(1)).unwrap();
    opened.queue.flush().unwrap_err();
    assert_eq!(opened.queue.read(STREAM, 0, 9, 999).unwrap(), [message(1)]);
}

#[test]
fn positions_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(directory.path());
    assert_eq!(Positions::load(&mut disk).unwrap(), Positions::default());
    for up_to in [5, 9] {
        let position = Position { stream: STREAM, lane: Lane::Urgent, up_to, tag: Tag(3) };
        let positions = Positions(vec![position; Positions::MAX]);
        positions.store(&mut disk).unwrap();
        assert_eq!(Positions::load(&mut disk).unwrap(), positions);
    }
    std::fs::write(directory.path().join("positions"), b"fedecksP....").unwrap();
    Positions::load(&mut disk).unwrap_err();
}

#[test]
fn owner_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(&directory.path().join("queue"));
    assert_eq!(Owner::load(&mut disk).unwrap(), None);
    for installation in [None, Some(InstallationId([9; 16]))] {
        let owner = Owner { device: "kitchen-1".into(), installation };
        owner.store(&mut disk).unwrap();
        assert_eq!(Owner::load(&mut disk).unwrap(), Some(owner));
    }
    let file = directory.path().join("queue/owner");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[30] ^= 1;
    std::fs::write(file, bytes).unwrap();
    assert_eq!(Owner::load(&mut disk).unwrap(), None);
}
