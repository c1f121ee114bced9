//! A device with the real core and queue, its disk, and its cloud.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use fedecks_device_core::{
    Action, Attempt, Config, Connection, DialError, DiskLimits, KeepError, KeepId, LostReason,
    NewContent, NewKept, Outgoing, Phase, Place, QueueJob, Settled, State, Time,
};
use fedecks_device_queue::{Directory, Entry, Space};
use fedecks_protocol::{
    Capabilities, DeliveryFrame, DeliveryOffer, DeviceId, Dialect, DownFrame, InstallationId,
    IssuedToken, Lane, Limits, StreamId, Tag, Token, UpFrame, Welcome,
};

use super::cloud::Cloud;
use super::simulated_disk::SimulatedDisk;
use crate::storage::queue::worker::QueueWorker;

/// The disk outlives the worker.
#[derive(Clone)]
pub(super) struct SharedDisk(pub(super) Rc<RefCell<SimulatedDisk>>);

pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) disk: SharedDisk,
    pub(super) core: Connection,
    pub(super) worker: QueueWorker<SharedDisk>,
    pub(super) cloud: Cloud,
    pub(super) now: Time,
    pub(super) installation: InstallationId,
    pub(super) device: String,
    /// Whether the cloud can be reached.
    pub(super) is_online: bool,
    pub(super) has_clock: bool,
    attempt: Attempt,
    pub(super) job: Option<QueueJob>,
    next: u64,
    /// What this start was asked to keep, and was not answered.
    asked: BTreeMap<u64, u64>,
    /// Answered as on disk, or acknowledged.
    pub(super) accepted: BTreeMap<Tag, u64>,
    pub(super) refused: Vec<KeepError>,
    pub(super) lost: BTreeSet<Tag>,
    pub(super) delivered: BTreeSet<Tag>,
    start: u64,
    pub(super) seed: u64,
}

pub(super) const LIMITS: DiskLimits = DiskLimits { max_bytes: 6_000, max_messages: 80 };

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut disk = SimulatedDisk::new(seed);
        disk.failing_syncs = [0, 5, 20][(seed % 3) as usize];
        disk.capacity = [u64::MAX, 5_000][(seed / 2 % 2) as usize];
        let mut it = Self::healthy(disk, seed);
        it.has_clock = seed % 5 > 0;
        it.run();
        it.work();
        it
    }

    /// A world in which nothing fails by itself.
    pub(super) fn healthy(disk: SimulatedDisk, seed: u64) -> Self {
        let device = "device".to_owned();
        Self {
            random: fastrand::Rng::with_seed(seed),
            disk: SharedDisk(Rc::new(RefCell::new(disk))),
            core: core(seed),
            worker: worker(&device),
            cloud: Cloud::default(),
            now: Time::new(Duration::from_secs(1_000)),
            installation: InstallationId([1; 16]),
            device,
            is_online: false,
            has_clock: true,
            attempt: Attempt(0),
            job: None,
            next: 0,
            asked: BTreeMap::new(),
            accepted: BTreeMap::new(),
            refused: Vec::new(),
            lost: BTreeSet::new(),
            delivered: BTreeSet::new(),
            start: 0,
            seed,
        }
    }

    /// One start until shortly before its power cut.
    pub(super) fn live(&mut self) {
        let writes = self.random.u64(1..80);
        self.disk.0.borrow_mut().writes_left = Some(writes);
        for _ in 0..300 {
            match self.random.u8(..20) {
                0..6 => {
                    let lane = Lane::ALL[self.random.usize(..2)];
                    let (size, sync) = (self.random.usize(8..200), self.random.u8(..5) == 0);
                    let expires_in = Duration::from_secs(self.random.u64(1..10_000));
                    self.keep(lane, size, sync, expires_in);
                }
                6..9 => {
                    let millis = self.random.u64(..4_000);
                    self.pass(Duration::from_millis(millis));
                }
                9..13 => self.work(),
                13..16 => {
                    self.cloud.read();
                }
                16..18 => self.acknowledge(),
                18 => self.write(),
                _ => match self.random.u8(..6) {
                    0 => self.is_online = true,
                    1 => self.disconnect(),
                    _ => {}
                },
            }
            if self.disk.0.borrow().is_off() {
                return;
            }
        }
    }

    /// The power fails and returns.
    pub(super) fn power_cut(&mut self) {
        self.disk.0.borrow_mut().writes_left = Some(0);
        self.disk.0.borrow_mut().restart();
        self.restart();
        // The queue is opened before the first connection, unless the disk is slow. Otherwise a newer stream may be
        // sent first, and a cloud that remembers eight streams of a lane may forget it behind more older ones.
        self.work();
    }

    /// The process ends without notice, and starts again.
    pub(super) fn restart(&mut self) {
        self.cloud.disconnect();
        self.start += 1;
        self.core = core(self.seed.wrapping_mul(31).wrapping_add(self.start));
        self.worker = worker(&self.device);
        (self.job, self.attempt) = (None, Attempt(0));
        self.asked.clear();
        self.run();
    }

    /// The cloud can be reached and the disk works: everything arrives.
    pub(super) fn finish(&mut self) {
        {
            let mut disk = self.disk.0.borrow_mut();
            (disk.writes_left, disk.failing_syncs, disk.capacity) = (None, 0, u64::MAX);
        }
        self.is_online = true;
        for _ in 0..4_000 {
            self.work();
            self.write();
            while self.cloud.read() {}
            self.acknowledge();
            self.pass(Duration::from_millis(100));
            let is_idle = self.core.queue().messages == 0 && self.job.is_none();
            if self.core.state() == State::Connected && is_idle {
                return;
            }
        }
        panic!(
            "seed {}: {:?} is stuck, {:?}",
            self.seed,
            self.core.queue(),
            self.core.disk_queue()
        );
    }

    pub(super) fn check(&self) {
        let seed = self.seed;
        let mut seen: BTreeMap<Tag, StreamId> = BTreeMap::new();
        let mut last: BTreeMap<StreamId, u64> = BTreeMap::new();
        for (stream, tag, _) in &self.cloud.handed {
            assert_eq!(seen.insert(*tag, *stream), None, "seed {seed}: {tag} twice");
            if let Some(place) = self.accepted.get(tag) {
                let before = last.insert(*stream, *place);
                assert!(before.is_none_or(|before| before < *place), "seed {seed}: {tag}, order");
            }
        }
        for tag in self.accepted.keys() {
            let is_known = seen.contains_key(tag) || self.lost.contains(tag);
            assert!(is_known, "seed {seed}: {tag} is lost without notice");
        }
        for tag in &self.delivered {
            // An earlier start may have told the cloud that it expired.
            let is_known = seen.contains_key(tag) || self.lost.contains(tag);
            assert!(is_known, "seed {seed}: {tag} was not handed over");
        }
    }

    pub(super) fn keep(&mut self, lane: Lane, size: usize, sync: bool, expires_in: Duration) {
        self.next += 1;
        let id = KeepId(self.next);
        self.asked.insert(id.0, self.next);
        let content = NewContent::Raw(vec![self.next as u8; size]);
        let (sent_at_ms, place) = (self.now_ms(), Place::Disk { sync });
        self.core.handle_keep(
            self.now,
            id,
            NewKept { lane, content, sent_at_ms, expires_in, place },
        );
        self.run();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for _ in 0..10 {
            self.core.handle_timeout(self.now);
            self.run();
            if self.core.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("seed {}: a deadline was kept and is still there", self.seed);
    }

    fn now_ms(&self) -> Option<u64> {
        let since = self.now.since_start().as_millis() as u64;
        self.has_clock.then_some(1_800_000_000_000 + since)
    }

    /// Executes the job, if there is one.
    pub(super) fn work(&mut self) {
        let Some(job) = self.job.take() else { return };
        let done = self.worker.run(job, self.now_ms(), || self.disk.clone());
        if self.disk.0.borrow().is_off() {
            // The next start finds the gap, and tells the cloud.
            self.lost.extend(done.lost.into_iter().flat_map(|it| it.tags));
            return;
        }
        self.core.handle_queue(self.now, done);
        self.run();
    }

    /// Lets everything be written.
    pub(super) fn rest(&mut self) {
        for _ in 0..12 {
            self.pass(Duration::from_secs(1));
            self.work();
        }
    }

    pub(super) fn write(&mut self) {
        self.core.handle_writable(self.now);
        self.run();
    }

    pub(super) fn acknowledge(&mut self) {
        while let Some(ack) = self.cloud.ack() {
            self.down(&DownFrame::Delivery(DeliveryFrame::Ack(ack)));
        }
    }

    pub(super) fn connect(&mut self) {
        self.is_online = true;
        self.pass(Duration::from_secs(3));
        assert_eq!(self.core.state(), State::Connected);
    }

    pub(super) fn disconnect(&mut self) {
        self.is_online = false;
        if self.core.state() == State::Connected {
            self.cloud.disconnect();
            let lost = LostReason::Broken("cut".into());
            self.core.handle_lost(self.now, self.attempt, lost);
            self.run();
        }
    }

    fn down(&mut self, frame: &DownFrame) {
        let bytes = Dialect::Bincode.encode_down(frame, &Limits::default()).unwrap();
        self.core.handle_message(self.now, self.attempt, &bytes);
        self.run();
    }

    pub(super) fn run(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::LoadToken => {
                    let token = Token::new("t").unwrap();
                    let token = IssuedToken { token, expires_at: 5 };
                    self.core.handle_loaded(self.now, Ok(Some(token)));
                }
                Action::Dial { attempt, .. } => self.dial(attempt),
                Action::Transmit { message: Outgoing::Frame(bytes), .. } => {
                    let frame = Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap();
                    if let UpFrame::Delivery(frame) = frame {
                        self.cloud.up.push_back(frame);
                    }
                }
                Action::Transmit { message: Outgoing::Ping, attempt, .. } => {
                    self.core.handle_pong(self.now, attempt);
                }
                Action::Queue(job) => assert!(self.job.replace(job).is_none(), "two jobs"),
                Action::AnswerKeep { id, result } => {
                    let place = self.asked.remove(&id.0).expect("one answer");
                    match result {
                        Ok(tag) => drop(self.accepted.insert(tag, place)),
                        Err(error) => self.refused.push(error),
                    }
                }
                Action::Settle { tag, settled: Settled::Delivered } => {
                    self.delivered.insert(tag);
                }
                Action::Settle { tag, .. } => {
                    self.lost.insert(tag);
                }
                Action::Log(notice) => {
                    let text = format!("{notice:?}");
                    assert!(!text.contains("Violation"), "seed {}: {text}", self.seed);
                }
                _ => {}
            }
        }
    }

    fn dial(&mut self, attempt: Attempt) {
        self.attempt = attempt;
        if !self.is_online {
            let error = DialError::Unreachable { phase: Phase::Tcp, error: "away".into() };
            return self.core.handle_dialed(self.now, attempt, Err(error));
        }
        self.core.handle_dialed(self.now, attempt, Ok(()));
        self.cloud.connect();
        let (capabilities, installation) = (Capabilities::KEPT_MESSAGES, self.installation);
        self.down(&DownFrame::Welcome(Welcome {
            server_time_ms: 0,
            heartbeat: Duration::from_secs(3_000),
            idle_timeout: Duration::from_secs(9_000),
            max_frame: 1 << 20,
            delivery: Some(DeliveryOffer { capabilities, installation }),
        }));
    }
}

fn core(seed: u64) -> Connection {
    let mut config = Config::new(DeviceId::new("device").unwrap());
    (config.disk, config.keep_bytes) = (Some(LIMITS), 20_000);
    config.backoff_cap = Duration::from_secs(2);
    Connection::new(config, seed)
}

pub(super) fn worker(device: &str) -> QueueWorker<SharedDisk> {
    let mut worker = QueueWorker::new(device.to_owned(), LIMITS, 1_000);
    (worker.limits.segment_bytes, worker.limits.free_bytes) = (600, 100);
    worker
}

impl Directory for SharedDisk {
    fn list(&mut self) -> io::Result<Vec<Entry>> {
        self.0.borrow_mut().list()
    }
    fn create(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().create(name)
    }
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().write_at(name, offset, bytes)
    }
    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().sync(name)
    }
    fn sync_names(&mut self) -> io::Result<()> {
        self.0.borrow_mut().sync_names()
    }
    fn read_at(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.borrow_mut().read_at(name, offset, len)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().remove(name)
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.0.borrow_mut().rename(from, to)
    }
    fn space(&mut self) -> io::Result<Space> {
        self.0.borrow_mut().space()
    }
    fn overwrites_in_place(&self) -> bool {
        self.0.borrow().overwrites_in_place()
    }
}
