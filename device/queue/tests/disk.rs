//! The queue on the real file system.

use std::io;
use std::path::Path;

use fedecks_device_queue::{
    DamageReason, Directory, Disk, Entry, Item, Limits, Owner, Position, Positions, Queue, Record,
    Space,
};
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

/// The real disk, on which the files with these names cannot be read.
struct Unreadable(Disk, Vec<String>);

impl Directory for Unreadable {
    fn read_at(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        if self.1.iter().any(|it| it == name) {
            return Err(io::Error::other("I/O error"));
        }
        self.0.read_at(name, offset, len)
    }

    fn list(&mut self) -> io::Result<Vec<Entry>> {
        self.0.list()
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.0.create(name)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.0.sync(name)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn space(&mut self) -> io::Result<Space> {
        self.0.space()
    }

    fn overwrites_in_place(&self) -> bool {
        self.0.overwrites_in_place()
    }
}

#[test]
fn a_segment_is_unreadable_only_if_the_disk_responds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let open = |unreadable: &[String]| {
        Queue::open(Unreadable(Disk::new(&path), unreadable.to_vec()), Limits::default())
    };
    let mut queue = open(&[]).queue;
    let other = StreamId([8; 16]);
    for stream in [STREAM, other] {
        queue.append(stream, Lane::Normal, message(1)).unwrap();
        queue.flush().unwrap();
    }
    drop(queue);
    let mut segments: Vec<_> =
        Disk::new(&path).list().unwrap().into_iter().map(|entry| entry.name).collect();
    segments.sort();
    Owner { device: "kitchen-1".into(), installation: None }.store(&mut Disk::new(&path)).unwrap();

    let opened = open(&segments[..1]);
    assert!(opened.error.is_none());
    assert_eq!(opened.damage[0].reason, DamageReason::Unreadable);
    assert_eq!(opened.found.iter().map(|found| found.stream).collect::<Vec<_>>(), [other]);

    // No other file can be read either, as when the partition is pulled out: it is tried again.
    let opened = open(&[segments[0].clone(), "owner".to_owned()]);
    assert_eq!(opened.error.unwrap().to_string(), "I/O error");
    assert_eq!((opened.found.len(), opened.damage.len()), (0, 0));

    let opened = open(&[]);
    assert_eq!((opened.found.len(), opened.damage.len()), (2, 0));
}
