//! The clock, the queue and the roads: everything that happens goes through here, in the order of
//! its time, and the clock jumps from one event to the next.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fedecks_device_core::{
    Action, Attempt, DialError, LostReason, Network, Outgoing, Phase, State,
};
use fedecks_protocol::{
    CloseCode, CloseReason, DeviceId, Dialect, DownFrame, IssuedToken, Limits, Refusal, UpFrame,
};

use crate::cloud::{Cloud, Verdict};
use crate::device::{Device, Road};

pub(crate) type LinkId = u64;

/// How long the store takes for an order.
const STORE_TIME: Duration = Duration::from_millis(20);

/// One attempt and the connection that comes of it, seen from both ends.
struct Link {
    device: usize,
    boot: u64,
    attempt: Attempt,
    header: String,
    latency: Duration,
    /// Whether what is sent arrives, from the device to the cloud and back.
    up: bool,
    down: bool,
    session: Option<Session>,
}

/// The cloud's end.
struct Session {
    device: DeviceId,
    heard: Duration,
}

enum What {
    Wake(usize, u64, Duration),
    Road(LinkId, Phase),
    ToDevice(LinkId, News),
    ToCloud(LinkId, Word),
    Store(usize, u64, Order),
    Idle(LinkId),
    Refresh(LinkId),
}

enum News {
    Answer(Result<(), DialError>),
    Frame(Vec<u8>),
    Pong,
    End(LostReason),
}

enum Word {
    Request,
    Frame(Vec<u8>),
    Ping,
    End,
}

enum Order {
    Load,
    Keep(IssuedToken),
    Forget,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) cloud: Cloud,
    pub(crate) devices: Vec<Device>,
    pub(crate) random: fastrand::Rng,
    links: HashMap<LinkId, Link>,
    /// Events in the order of time, then of their numbers.
    queue: BTreeMap<(Duration, u64), What>,
    next: u64,
    /// How many events there were since the clock moved.
    instant: u32,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Duration::from_secs(1),
            cloud: Cloud::new(),
            devices: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            links: HashMap::new(),
            queue: BTreeMap::new(),
            next: 0,
            instant: 0,
        }
    }

    /// A world with one device that has logged in and is connected.
    pub(crate) fn with_connected_device(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.add_connected("device-0");
        world
    }

    pub(crate) fn add_connected(&mut self, id: &str) -> usize {
        let device = self.add(id);
        let now = self.now;
        self.tell(device, |it| it.login_well(now));
        self.run_for(Duration::from_secs(2));
        assert!(self.is_connected(device), "{:?}", self.devices[device].core.state());
        device
    }

    pub(crate) fn add(&mut self, id: &str) -> usize {
        let seed = self.random.u64(..);
        self.devices.push(Device::new(id, seed));
        let device = self.devices.len() - 1;
        self.tell(device, |_| {});
        device
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some(event) = self.queue.first_entry().filter(|event| event.key().0 <= end) {
            let ((at, _), what) = event.remove_entry();
            self.instant = if at > self.now { 0 } else { self.instant + 1 };
            assert!(self.instant < 100_000, "the clock stands still at {:?}", self.now);
            self.now = self.now.max(at);
            self.happen(what);
        }
        self.now = self.now.max(end);
    }

    /// Runs until something is so; gives how long that took, `None` if longer than `most`.
    pub(crate) fn run_until_so(
        &mut self,
        most: Duration,
        mut so: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let begun = self.now;
        while !so(self) {
            let (at, _) = *self.queue.first_key_value()?.0;
            if at > begun + most {
                return None;
            }
            self.run_until(at);
        }
        Some(self.now - begun)
    }

    /// Gives an input to a device and carries out what it wants.
    pub(crate) fn tell(&mut self, device: usize, input: impl FnOnce(&mut Device)) {
        input(&mut self.devices[device]);
        while let Some(action) = self.devices[device].core.poll_action() {
            self.act(device, action);
        }
        let it = &mut self.devices[device];
        let deadline = it.deadline();
        if let Some(at) = deadline.filter(|_| deadline != it.wake) {
            it.wake = deadline;
            let boot = it.boot;
            self.push(at.max(self.now), What::Wake(device, boot, at));
        }
    }

    pub(crate) fn network(&mut self, device: usize, network: Network) {
        let now = self.now;
        self.tell(device, |it| it.core.handle_network(it.clock(now), network));
    }

    /// Both ends say so: messages would travel both ways.
    pub(crate) fn is_connected(&self, device: usize) -> bool {
        let it = &self.devices[device];
        it.core.state() == State::Connected
            && it.link.is_some_and(|id| {
                self.links.get(&id).is_some_and(|link| {
                    link.up && link.down && link.session.is_some() && self.cloud.serves(&it.id, id)
                })
            })
    }

    pub(crate) fn set_road(&mut self, device: usize, road: Road) {
        self.devices[device].road = road;
        if road != Road::Good {
            self.cut(device, true, true);
        }
    }

    /// From now on the link of the device loses what goes up, or comes down, and nobody is told.
    pub(crate) fn cut(&mut self, device: usize, up: bool, down: bool) {
        for link in self.links.values_mut().filter(|link| link.device == device) {
            link.up &= !up;
            link.down &= !down;
        }
    }

    /// Both ends lose the link and know it.
    pub(crate) fn reset(&mut self, device: usize) {
        if let Some(id) = self.devices[device].link {
            self.end_session(id);
            self.push(self.now, What::ToDevice(id, News::End(broken())));
        }
    }

    pub(crate) fn power_cut(&mut self, device: usize) {
        let now = self.now;
        if let Some(link) = self.devices[device].link.and_then(|id| self.links.get_mut(&id)) {
            link.up = false;
            link.down = false;
        }
        self.devices[device].power_cut(now);
        self.tell(device, |_| {});
    }

    pub(crate) fn suspend(&mut self, device: usize, time: Duration) {
        self.devices[device].asleep_until = self.now + time;
    }

    /// Ends every session with this close, or without one.
    pub(crate) fn stop_cloud(&mut self, close: Option<CloseReason>) {
        self.cloud.up = false;
        for id in self.cloud.drop_all() {
            self.end_session(id);
            self.down(id, News::End(close.map_or_else(broken, LostReason::Closed)));
        }
    }

    pub(crate) fn revoke(&mut self, device: usize) {
        let id = self.devices[device].id.clone();
        if let Some(link) = self.cloud.revoke(&id) {
            self.end_session(link);
            let close = CloseReason::new(CloseCode::Revoked);
            self.down(link, News::End(LostReason::Closed(close)));
        }
    }

    /// The cloud's handler pushes a message if the device has a session.
    pub(crate) fn push_message(&mut self, device: usize) {
        let id = &self.devices[device].id;
        let session = self
            .links
            .iter()
            .find(|(id_, link)| link.session.is_some() && self.cloud.serves(id, **id_));
        if let Some((link, _)) = session {
            self.down_frame(*link, &DownFrame::Raw { sequence: None, bytes: vec![1] });
        }
    }

    fn push(&mut self, at: Duration, what: What) {
        self.next += 1;
        self.queue.insert((at, self.next), what);
    }

    fn happen(&mut self, what: What) {
        // What is for a device that sleeps lies in its buffers until it wakes.
        let device = match &what {
            What::Wake(device, _, _) | What::Store(device, _, _) => Some(*device),
            What::ToDevice(id, _) | What::Road(id, _) => self.links.get(id).map(|link| link.device),
            What::ToCloud(..) | What::Idle(_) | What::Refresh(_) => None,
        };
        if let Some(until) = device.map(|device| self.devices[device].asleep_until) {
            if until > self.now {
                return self.push(until, what);
            }
        }
        match what {
            What::Wake(device, boot, at) => self.wake(device, boot, at),
            What::Road(id, phase) => self.road(id, phase),
            What::ToDevice(id, news) => self.at_device(id, news),
            What::ToCloud(id, word) => self.at_cloud(id, word),
            What::Store(device, boot, order) => self.store(device, boot, order),
            What::Idle(id) => self.idle(id),
            What::Refresh(id) => self.refresh(id),
        }
    }

    fn wake(&mut self, device: usize, boot: u64, at: Duration) {
        let now = self.now;
        let it = &mut self.devices[device];
        if it.boot != boot || it.wake != Some(at) {
            return;
        }
        it.wake = None;
        self.tell(device, |it| it.core.handle_timeout(it.clock(now)));
        let it = &self.devices[device];
        assert!(it.deadline().is_none_or(|at| at > now), "a deadline that was kept is still there");
    }

    fn act(&mut self, device: usize, action: Action) {
        let now = self.now;
        let boot = self.devices[device].boot;
        let it = &mut self.devices[device];
        match action {
            Action::LoadToken => {
                self.push(now + STORE_TIME, What::Store(device, boot, Order::Load))
            }
            Action::StoreToken(token) => {
                self.push(now + STORE_TIME, What::Store(device, boot, Order::Keep(token)));
            }
            Action::ForgetToken => {
                it.sums.forgets += 1;
                self.push(now + STORE_TIME, What::Store(device, boot, Order::Forget));
            }
            Action::Dial { attempt, header } => {
                assert_eq!(it.link, None, "there is a link already");
                it.sums.dials.push(now);
                self.next += 1;
                let id = self.next;
                it.link = Some(id);
                let latency = Duration::from_millis(self.random.u64(5..=80));
                let header = header.expose().to_owned();
                let link = Link {
                    device,
                    boot,
                    attempt,
                    header,
                    latency,
                    up: true,
                    down: true,
                    session: None,
                };
                self.links.insert(id, link);
                self.push(now, What::Road(id, Phase::Resolve));
            }
            Action::Transmit { attempt, message, send: _ } => {
                let id = self.current_link(device, attempt);
                let word = match message {
                    Outgoing::Frame(bytes) => Word::Frame(bytes),
                    Outgoing::Ping => {
                        self.devices[device].sums.pings += 1;
                        Word::Ping
                    }
                };
                self.up(id, word);
            }
            Action::Disconnect { attempt, code: _ } => {
                let id = self.current_link(device, attempt);
                self.devices[device].link = None;
                if self.links[&id].up {
                    self.up(id, Word::End);
                } else {
                    self.tidy(id);
                }
            }
            Action::AnswerLogin { .. } => it.sums.answers += 1,
            Action::Emit(event) => it.note(&event),
            Action::AnswerLogout { .. }
            | Action::AnswerSend { .. }
            | Action::TrustTime { .. }
            | Action::Log(_) => {}
        }
    }

    #[track_caller]
    fn current_link(&self, device: usize, attempt: Attempt) -> LinkId {
        let id = self.devices[device].link.unwrap();
        assert_eq!(self.links[&id].attempt, attempt, "not the current attempt");
        id
    }

    fn road(&mut self, id: LinkId, entered: Phase) {
        let Some(link) = self.links.get(&id) else { return };
        let (device, boot, attempt, latency) = (link.device, link.boot, link.attempt, link.latency);
        let it = &self.devices[device];
        if it.boot != boot || it.link != Some(id) {
            return;
        }
        let unreachable = |why: &str| News::Answer(Err(DialError::Unreachable(why.into())));
        match (it.road, entered) {
            (Road::Hole, Phase::Resolve) | (Road::Good | Road::Portal, _) => {}
            (Road::Hole, _) => return,
            (Road::Refusing, _) => return self.at_device(id, unreachable("no route to host")),
        }
        let now = self.now;
        self.tell(device, |it| it.core.handle_phase(it.clock(now), attempt, entered));
        let next = match entered {
            Phase::Resolve => Phase::Tcp,
            Phase::Tcp => Phase::Tls,
            Phase::Tls => Phase::Upgrade,
            Phase::Upgrade if self.devices[device].road == Road::Portal => {
                let answers = ["HTTP 200", "HTTP 302", "HTTP 401", "HTTP 403"];
                let answer = answers[self.random.usize(..answers.len())];
                return self.push(now + latency, What::ToDevice(id, unreachable(answer)));
            }
            Phase::Upgrade | Phase::Welcome => return self.up(id, Word::Request),
        };
        if next == Phase::Tls && !self.cloud.up && self.devices[device].road == Road::Good {
            let refused = unreachable("connection refused");
            return self.push(now + latency * 2, What::ToDevice(id, refused));
        }
        self.push(now + latency * 2, What::Road(id, next));
    }

    fn up(&mut self, id: LinkId, word: Word) {
        if let Some(link) = self.links.get(&id).filter(|link| link.up) {
            self.push(self.now + link.latency, What::ToCloud(id, word));
        }
    }

    fn down(&mut self, id: LinkId, news: News) {
        if let Some(link) = self.links.get(&id).filter(|link| link.down) {
            self.push(self.now + link.latency, What::ToDevice(id, news));
        }
    }

    fn down_frame(&mut self, id: LinkId, frame: &DownFrame) {
        let bytes = Dialect::Bincode.encode_down(frame, &Limits::default()).unwrap();
        self.down(id, News::Frame(bytes));
    }

    fn at_device(&mut self, id: LinkId, news: News) {
        let Some(link) = self.links.get(&id).filter(|link| link.down) else { return };
        let (device, attempt) = (link.device, link.attempt);
        if self.devices[device].boot != link.boot || self.devices[device].link != Some(id) {
            // The device let go of this link; its kernel says so to whoever still sends.
            return self.up(id, Word::End);
        }
        let now = self.now;
        let is_end = matches!(&news, News::End(_) | News::Answer(Err(_)));
        if is_end {
            self.devices[device].link = None;
            self.tidy(id);
        }
        self.tell(device, |it| {
            let clock = it.clock(now);
            match news {
                News::Answer(result) => it.core.handle_dialed(clock, attempt, result),
                News::Frame(bytes) => it.core.handle_message(clock, attempt, &bytes),
                News::Pong => it.core.handle_traffic(clock, attempt),
                News::End(reason) => it.core.handle_lost(clock, attempt, reason),
            }
        });
    }

    fn at_cloud(&mut self, id: LinkId, word: Word) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.up) else { return };
        if let Some(session) = &mut link.session {
            session.heard = now;
        }
        let has_session = link.session.is_some();
        match word {
            Word::Request if self.cloud.up => {
                let header = std::mem::take(&mut link.header);
                self.request(id, &header);
            }
            Word::Request => {
                self.down(id, News::Answer(Err(DialError::Unreachable("reset".into()))))
            }
            Word::Ping if has_session => self.down(id, News::Pong),
            Word::Frame(bytes) if has_session => {
                let frame = Dialect::Bincode.decode_up(&bytes, &Limits::default()).unwrap();
                if frame == UpFrame::TokenPlease {
                    self.send_token(id);
                }
            }
            Word::Ping | Word::Frame(_) => {}
            Word::End => self.end_session(id),
        }
    }

    fn request(&mut self, id: LinkId, header: &str) {
        let now = self.now;
        match self.cloud.judge(now, header) {
            Verdict::Refused(refusal, retry_after) => {
                assert!(Refusal::from_response(refusal.status(), Some(refusal.reason())).is_some());
                let error = DialError::Refused { refusal, retry_after };
                self.down(id, News::Answer(Err(error)));
            }
            Verdict::Accepted(device, token) => {
                if let Some(older) = self.cloud.register(&device, id) {
                    self.end_session(older);
                    let close = CloseReason::new(CloseCode::Replaced);
                    self.down(older, News::End(LostReason::Closed(close)));
                }
                if let Some(link) = self.links.get_mut(&id) {
                    link.session = Some(Session { device, heard: now });
                }
                self.down(id, News::Answer(Ok(())));
                let welcome = self.cloud.welcome(now);
                self.down_frame(id, &DownFrame::Welcome(welcome));
                if let Some(token) = token {
                    self.down_frame(id, &DownFrame::Token(token));
                }
                self.push(now + self.cloud.idle_timeout, What::Idle(id));
                self.push(now + self.cloud.refresh, What::Refresh(id));
            }
        }
    }

    fn send_token(&mut self, id: LinkId) {
        if let Some(session) = self.links.get(&id).and_then(|link| link.session.as_ref()) {
            let token = self.cloud.seal(self.now, &session.device);
            self.down_frame(id, &DownFrame::Token(token));
        }
    }

    fn refresh(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.session.is_some()) {
            self.send_token(id);
            self.push(self.now + self.cloud.refresh, What::Refresh(id));
        }
    }

    fn idle(&mut self, id: LinkId) {
        let Some(session) = self.links.get(&id).and_then(|link| link.session.as_ref()) else {
            return;
        };
        let due = session.heard + self.cloud.idle_timeout;
        if due > self.now {
            return self.push(due, What::Idle(id));
        }
        self.end_session(id);
        self.down(id, News::End(broken()));
    }

    /// The cloud lets go of its end.
    fn end_session(&mut self, id: LinkId) {
        if let Some(session) = self.links.get_mut(&id).and_then(|link| link.session.take()) {
            self.cloud.unregister(&session.device, id);
        }
        self.tidy(id);
    }

    /// Forgets a link that neither end holds.
    fn tidy(&mut self, id: LinkId) {
        let over = |link: &Link| {
            let it = &self.devices[link.device];
            link.session.is_none() && (it.boot != link.boot || it.link != Some(id))
        };
        if self.links.get(&id).is_some_and(over) {
            self.links.remove(&id);
        }
    }

    fn store(&mut self, device: usize, boot: u64, order: Order) {
        let now = self.now;
        let it = &mut self.devices[device];
        if it.boot != boot {
            return;
        }
        let works = now >= it.store.mounted_at && !it.store.fails;
        let outcome = if works { Ok(()) } else { Err("read-only".to_owned()) };
        match order {
            Order::Load => {
                let found = it.store.token.clone().filter(|_| now >= it.store.mounted_at);
                self.tell(device, |it| it.core.handle_loaded(it.clock(now), Ok(found)));
            }
            Order::Keep(token) => {
                if works {
                    it.store.token = Some(token);
                }
                self.tell(device, |it| it.core.handle_stored(it.clock(now), outcome));
            }
            Order::Forget => {
                if works {
                    it.store.token = None;
                }
                self.tell(device, |it| it.core.handle_stored(it.clock(now), outcome));
            }
        }
    }
}

fn broken() -> LostReason {
    LostReason::Broken("connection reset".into())
}
