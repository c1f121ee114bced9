//! The clock, the event queue and the devices. The clock jumps from one event to the next.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fedecks_device_core::{Action, LostReason, Network, Outgoing, State, Time};
use fedecks_protocol::{CloseCode, CloseReason, Dialect, DownFrame, Limits, UpFrame};

use crate::cloud::{Cloud, PASSWORD};
use crate::device::{Device, Path};
use crate::link::{Link, LinkId};

const STORE_LATENCY: Duration = Duration::from_millis(20);

struct Event {
    /// The device that has to be awake for it.
    device: Option<usize>,
    run: Box<dyn FnOnce(&mut World)>,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) cloud: Cloud,
    pub(crate) devices: Vec<Device>,
    pub(crate) random: fastrand::Rng,
    pub(crate) links: HashMap<LinkId, Link>,
    /// The latency of each new link; random by default.
    pub(crate) latency: Option<Duration>,
    /// By time, then in the order of their creation.
    queue: BTreeMap<(Duration, u64), Event>,
    pub(crate) last_id: u64,
    /// The number of events since the clock moved.
    events_now: u32,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: secs(1),
            cloud: Cloud::new(),
            devices: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            links: HashMap::new(),
            latency: None,
            queue: BTreeMap::new(),
            last_id: 0,
            events_now: 0,
        }
    }

    /// A world with one device that has logged in and is connected.
    pub(crate) fn with_connected_device(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.add_connected("device-0");
        world
    }

    pub(crate) fn add_connected(&mut self, id: &str) {
        let device = self.add(id);
        self.login(device, PASSWORD);
        self.run_for(secs(2));
        assert!(self.is_connected(device), "{:?}", self.devices[device].core.state());
    }

    pub(crate) fn add(&mut self, id: &str) -> usize {
        let seed = self.random.u64(..);
        self.devices.push(Device::new(id, seed));
        let device = self.devices.len() - 1;
        self.give(device, |_, _| {});
        device
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.events_now = if at > self.now { 0 } else { self.events_now + 1 };
            assert!(self.events_now < 100_000, "the clock is stuck at {:?}", self.now);
            self.now = self.now.max(at);
            // The input of a suspended device is buffered until it wakes up.
            let asleep_until = event.device.map(|device| self.devices[device].asleep_until);
            match asleep_until.filter(|until| *until > self.now) {
                Some(until) => self.push(until, event),
                None => (event.run)(self),
            }
        }
        self.now = self.now.max(end);
    }

    /// Runs until `condition` is true. Returns how long that took, `None` if longer than `limit`.
    pub(crate) fn run_until_so(
        &mut self,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !condition(self) {
            let (at, _) = *self.queue.first_key_value()?.0;
            if at > start + limit {
                return None;
            }
            self.run_until(at);
        }
        Some(self.now - start)
    }

    #[track_caller]
    pub(crate) fn assert_connected_after(&mut self, time: Duration) {
        self.run_for(time);
        assert!(self.is_connected(0));
    }

    #[track_caller]
    pub(crate) fn assert_back_within(&mut self, bound: Duration) {
        let took = self.run_until_so(bound, |world| world.is_connected(0));
        assert!(took.is_some(), "not connected within {bound:?}");
    }

    /// Gives an input to a device and executes its actions.
    pub(crate) fn give(&mut self, device: usize, input: impl FnOnce(&mut Device, Time)) {
        let clock = self.devices[device].clock(self.now);
        input(&mut self.devices[device], clock);
        while let Some(action) = self.devices[device].core.poll_action() {
            self.execute(device, action);
        }
        let it = &mut self.devices[device];
        let deadline = it.deadline();
        if let Some(at) = deadline.filter(|_| deadline != it.wake_up) {
            it.wake_up = deadline;
            let boot = it.boot;
            let delay = at.saturating_sub(self.now);
            self.schedule(delay, Some(device), move |world| world.wake_up(device, boot, at));
        }
    }

    pub(crate) fn login(&mut self, device: usize, password: &str) {
        self.give(device, |it, clock| it.login(clock, password));
    }

    pub(crate) fn network(&mut self, device: usize, network: Network) {
        self.give(device, |it, clock| it.core.handle_network(clock, network));
    }

    /// Whether messages would arrive in both directions.
    pub(crate) fn is_connected(&self, device: usize) -> bool {
        let it = &self.devices[device];
        let works = |id| {
            self.cloud.session(&it.id) == Some(id) && self.links.get(&id).is_some_and(Link::works)
        };
        it.core.state() == State::Connected && it.link.is_some_and(works)
    }

    pub(crate) fn set_path(&mut self, device: usize, path: Path) {
        self.devices[device].path = path;
        if path != Path::Good {
            self.cut(device, true, true);
        }
    }

    pub(crate) fn power_cut(&mut self, device: usize) {
        self.cut(device, true, true);
        self.devices[device].power_cut(self.now);
        self.give(device, |_, _| {});
    }

    pub(crate) fn suspend(&mut self, device: usize, time: Duration) {
        self.devices[device].asleep_until = self.now + time;
    }

    /// Ends every session, with this close or by a reset.
    pub(crate) fn stop_cloud(&mut self, close: Option<CloseReason>) {
        self.cloud.up = false;
        for id in self.cloud.drop_all() {
            self.end_session(id);
            self.lose(id, close.map_or_else(reset, LostReason::Closed));
        }
    }

    pub(crate) fn revoke(&mut self, device: usize) {
        let id = self.devices[device].id.clone();
        if let Some(link) = self.cloud.revoke(&id) {
            self.end_session(link);
            self.lose(link, LostReason::Closed(CloseReason::new(CloseCode::Revoked)));
        }
    }

    /// The cloud's handler pushes a message if the device has a session.
    pub(crate) fn push_message(&mut self, device: usize) {
        if let Some(link) = self.cloud.session(&self.devices[device].id) {
            self.send_frame(link, &DownFrame::Raw { sequence: None, bytes: vec![1] });
        }
    }

    pub(crate) fn schedule(
        &mut self,
        delay: Duration,
        device: Option<usize>,
        run: impl FnOnce(&mut Self) + 'static,
    ) {
        self.push(self.now + delay, Event { device, run: Box::new(run) });
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.last_id += 1;
        self.queue.insert((at, self.last_id), event);
    }

    fn wake_up(&mut self, device: usize, boot: u64, at: Duration) {
        let it = &mut self.devices[device];
        if it.boot == boot && it.wake_up == Some(at) {
            it.wake_up = None;
            self.give(device, |it, clock| it.core.handle_timeout(clock));
            let next = self.devices[device].deadline();
            assert!(next.is_none_or(|at| at > self.now), "a deadline was kept and is still there");
        }
    }

    fn execute(&mut self, device: usize, action: Action) {
        let it = &mut self.devices[device];
        match action {
            Action::LoadToken => self.use_store(device, Device::load),
            Action::Queue(job) => assert!(it.core.disk_queue().is_some(), "{job:?}"),
            Action::StoreToken(token) => {
                self.use_store(device, |it, now| it.write(now, Some(token)));
            }
            Action::LoadNonce { login } => {
                self.give(device, |it, clock| it.load_nonce(clock, login));
            }
            Action::ForgetNonce => it.store.nonce = None,
            Action::ForgetToken => {
                it.sums.forgets += 1;
                self.use_store(device, |it, now| it.write(now, None));
            }
            Action::Dial { attempt, header } => {
                assert_eq!(it.link, None, "there is a link already");
                it.sums.dials.push(self.now);
                self.dial(device, attempt, header.expose());
            }
            Action::Transmit { attempt, message, send: _ } => {
                let id = self.current_link(device, attempt);
                match message {
                    Outgoing::Frame(bytes) => self.send_up(id, move |world| {
                        let frame = Dialect::Bincode.decode_up(&bytes, &Limits::default());
                        if frame.unwrap() == UpFrame::TokenPlease {
                            world.send_token(id);
                        }
                    }),
                    Outgoing::Ping => {
                        self.devices[device].sums.pings += 1;
                        self.send_up(id, move |world| world.answer_ping(id));
                    }
                }
            }
            Action::Disconnect { attempt, code: _ } => {
                let id = self.current_link(device, attempt);
                self.devices[device].link = None;
                self.disconnect(id);
            }
            Action::AnswerLogin { .. } => it.sums.answers += 1,
            Action::Emit(event) => it.sums.add(&event),
            Action::Deliver(_) => it.sums.messages += 1,
            Action::AnswerRequest { .. }
            | Action::DeliverRequest { .. }
            | Action::CancelRequest { .. }
            | Action::DeliverKept(_)
            | Action::StorePositions(_)
            | Action::AnswerLogout { .. }
            | Action::AnswerSend { .. }
            | Action::AnswerKeep { .. }
            | Action::Settle { .. }
            | Action::TrustTime { .. }
            | Action::Log(_) => {}
        }
    }

    fn use_store(&mut self, device: usize, run: impl FnOnce(&mut Device, Duration) + 'static) {
        let boot = self.devices[device].boot;
        self.schedule(STORE_LATENCY, Some(device), move |world| {
            let now = world.now;
            if world.devices[device].boot == boot {
                world.give(device, |it, _| run(it, now));
            }
        });
    }
}

pub(crate) fn reset() -> LostReason {
    LostReason::Broken("connection reset".into())
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
