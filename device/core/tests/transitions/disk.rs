//! The order of messages on disk: those of earlier starts go first, also if the disk is slow, and a disk that fails
//! holds nothing back.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind")]

use std::collections::VecDeque;

use fedecks_protocol::{Ack, Content, Kept};

use crate::machine::*;

const CLOUD: InstallationId = InstallationId([7; 16]);

/// A device whose earlier starts left one message each, and a cloud that acknowledges at once.
struct Bench {
    it: Machine,
    found: Vec<FoundStream>,
    jobs: VecDeque<QueueJob>,
    /// What the cloud received.
    received: Vec<Vec<u8>>,
    /// The position of the cloud in each stream that is resumed.
    position: u64,
    attempt: u64,
}

impl Bench {
    /// Connected, with a disk that has not answered yet. The message of earlier start `n` is `[n]`.
    fn new(starts: u8) -> Self {
        let config = Config { disk: Some(DiskLimits::default()), ..Config::new(device_id()) };
        let core = Connection::new(config, 7);
        let lane = Lane::Normal;
        let stream = |n: u8| StreamId([n; 16]);
        let found = (1..=starts)
            .map(|n| FoundStream { stream: stream(n), lane, first: 1, last: 1, messages: 1 })
            .collect();
        let (jobs, received) = (VecDeque::new(), Vec::new());
        let it = Machine::with_core(core);
        let mut it = Self { it, found, jobs, received, position: 0, attempt: 0 };
        it.it.loaded(Ok(Some(token("stored"))));
        it.connect();
        it
    }

    fn connect(&mut self) {
        self.attempt += 1;
        while !matches!(self.it.core.state(), State::Dialing { .. }) {
            self.it.keep_next_deadline();
        }
        self.it.dialed(self.attempt, Ok(()));
        self.frame(DownFrame::Welcome(Welcome {
            delivery: Some(DeliveryOffer { capabilities: Capabilities::ALL, installation: CLOUD }),
            ..welcome()
        }));
    }

    fn keep(&mut self, place: Place, body: &[u8]) {
        let (content, expires_in) = (NewContent::Raw(body.to_vec()), secs(3600));
        let kept = NewKept { lane: Lane::Normal, content, sent_at_ms: None, expires_in, place };
        self.it.core.handle_keep(self.it.now, KeepId(1), kept);
        self.settle();
    }

    fn frame(&mut self, frame: DownFrame) {
        self.it.frame(self.attempt, &frame);
        self.settle();
    }

    /// Keeps every deadline of the next seconds.
    fn run_for(&mut self, seconds: u64) {
        self.it.run_for(secs(seconds));
        self.settle();
    }

    /// Executes what the core has decided, except for the jobs of the disk.
    fn settle(&mut self) {
        loop {
            self.it.core.handle_writable(self.it.now);
            let (mut frames, mut is_idle) = (Vec::new(), true);
            while let Some(action) = self.it.core.poll_action() {
                match action {
                    Action::Transmit { message: Outgoing::Frame(bytes), .. } => {
                        is_idle = false;
                        frames
                            .push(Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap());
                    }
                    Action::Queue(job) => self.jobs.push_back(job),
                    _ => {}
                }
            }
            for frame in frames {
                if let UpFrame::Delivery(DeliveryFrame::Resume(resume)) = &frame {
                    let up_to = self.position.max(resume.oldest - 1);
                    self.acknowledge(resume.handle, up_to, Tag(up_to));
                }
                let UpFrame::Delivery(DeliveryFrame::Kept(kept)) = frame else { continue };
                let Kept { handle, sequence, tag, content: Content::Raw(body), .. } = kept else {
                    panic!("{kept:?}")
                };
                self.received.push(body);
                self.acknowledge(handle, sequence, tag);
            }
            if is_idle {
                return;
            }
        }
    }

    fn acknowledge(&mut self, handle: u64, up_to: u64, tag: Tag) {
        let (credit_to, credit_bytes, rejected) = (up_to + 64, 256 * 1024, Vec::new());
        let ack = Ack { handle, up_to, tag, credit_to, credit_bytes, rejected };
        self.it.frame(self.attempt, &DownFrame::Delivery(DeliveryFrame::Ack(ack)));
    }

    /// The disk does one job; false if there is none.
    fn disk_works(&mut self) -> bool {
        let Some(job) = self.jobs.pop_front() else { return false };
        let is_first = job == QueueJob::default();
        let opened =
            is_first.then(|| QueueOpened { found: self.found.clone(), ..QueueOpened::default() });
        let loaded = job.load.map(|(stream, after)| {
            assert_eq!(after, 0, "a stream has one message");
            let body = vec![stream.0[0]];
            let tag = Tag(u64::from(stream.0[0]));
            let item =
                QueueItem::Message { tag, sent_at_ms: None, expires_at_ms: None, raw: true, body };
            Ok(vec![QueueEntry { from: 1, to: 1, item }])
        });
        let flushed = job.flush.then_some(Ok(()));
        let done = QueueDone { opened, loaded, flushed, ..QueueDone::default() };
        self.it.core.handle_queue(self.it.now, done);
        self.settle();
        true
    }

    fn disk_fails(&mut self) {
        self.jobs.pop_front().expect("a job");
        let done = QueueDone { error: Some("read-only".into()), ..QueueDone::default() };
        self.it.core.handle_queue(self.it.now, done);
        self.settle();
    }
}

#[test]
fn what_earlier_starts_left_goes_before_what_is_new() {
    for place in [Place::Memory, Place::Disk { sync: false }] {
        let mut it = Bench::new(2);
        it.keep(place, b"new");
        it.run_for(3);
        assert_eq!(it.received, [[0; 0]; 0], "{place:?}");
        while it.disk_works() {}
        assert_eq!(it.received, [b"\x01".to_vec(), b"\x02".to_vec(), b"new".to_vec()], "{place:?}");
    }
}

#[test]
fn twenty_earlier_starts_go_before_what_is_new() {
    let mut it = Bench::new(20);
    it.keep(Place::Memory, b"new");
    it.keep(Place::Disk { sync: false }, b"newer");
    while it.disk_works() {}
    let old = (1..=20).map(|n| vec![n]);
    let new = [b"new".to_vec(), b"newer".to_vec()];
    assert_eq!(it.received, old.chain(new).collect::<Vec<_>>());
}

#[test]
fn an_urgent_message_does_not_wait_for_the_normal_lane() {
    let mut it = Bench::new(20);
    it.disk_works();
    let (content, expires_in) = (NewContent::Raw(b"urgent".to_vec()), secs(3600));
    let (lane, place) = (Lane::Urgent, Place::Memory);
    let kept = NewKept { lane, content, sent_at_ms: None, expires_in, place };
    it.it.core.handle_keep(it.it.now, KeepId(1), kept);
    it.settle();
    assert_eq!(it.received, [b"urgent".to_vec()]);
}

#[test]
fn a_disk_that_cannot_be_opened_holds_nothing_back() {
    let mut it = Bench::new(0);
    it.keep(Place::Memory, b"new");
    it.disk_fails();
    assert_eq!(it.received, [b"new".to_vec()]);
}

#[test]
fn a_disk_that_does_not_respond_delays_for_ten_seconds() {
    let mut it = Bench::new(0);
    it.keep(Place::Memory, b"new");
    it.run_for(9);
    assert_eq!(it.received, [[0; 0]; 0]);
    it.run_for(2);
    assert_eq!(it.received, [b"new".to_vec()]);
}

#[test]
fn an_error_of_reading_ends_when_nothing_is_left_to_read() {
    let mut it = Bench::new(1);
    assert!(it.disk_works());
    let job = it.jobs.pop_front().unwrap();
    assert!(job.load.is_some());
    let loaded = Some(Err("cannot read the queue: Input/output error".to_owned()));
    it.it.core.handle_queue(it.it.now, QueueDone { loaded, ..QueueDone::default() });
    it.settle();
    let error = |it: &Bench| it.it.core.disk_queue().unwrap().error;
    assert!(error(&it).is_some());
    it.run_for(1);
    assert!(error(&it).is_some());
    // The cloud has had it all along.
    it.position = 1;
    it.it.broken(1);
    it.settle();
    it.connect();
    assert_eq!(error(&it), None);
}
