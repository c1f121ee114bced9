//! The links between devices and the cloud: attempts and what both ends send. A link is silent about
//! what it loses.

use std::time::Duration;

use fedecks_device_core::{Attempt, Connection, DialError, LostReason, Phase, Time};
use fedecks_protocol::{CloseCode, CloseReason, Dialect, DownFrame, Limits, Refusal};

use crate::cloud::Response;
use crate::device::Path;
use crate::world::{World, reset};

pub(crate) type LinkId = u64;

/// An attempt and its link, with both ends.
pub(crate) struct Link {
    device: usize,
    boot: u64,
    attempt: Attempt,
    header: String,
    latency: Duration,
    /// Whether messages arrive, from the device to the cloud and back.
    up: bool,
    down: bool,
    /// The cloud's end: when it received something last.
    session: Option<Duration>,
}

impl Link {
    pub(crate) fn works(&self) -> bool {
        self.up && self.down && self.session.is_some()
    }
}

impl World {
    /// From now on the device's link silently loses messages up, or down.
    pub(crate) fn cut(&mut self, device: usize, up: bool, down: bool) {
        for link in self.links.values_mut().filter(|link| link.device == device) {
            link.up &= !up;
            link.down &= !down;
        }
    }

    /// Both ends lose the link and notice it.
    pub(crate) fn reset(&mut self, device: usize) {
        self.end(device, reset());
    }

    /// The cloud, or something in between, ends the link like this.
    pub(crate) fn end(&mut self, device: usize, by: LostReason) {
        if let Some(id) = self.devices[device].link {
            self.end_session(id);
            self.lose(id, by);
        }
    }

    pub(crate) fn dial(&mut self, device: usize, attempt: Attempt, header: &str) {
        self.last_id += 1;
        let id = self.last_id;
        let random = Duration::from_millis(self.random.u64(5..=80));
        let link = Link {
            device,
            boot: self.devices[device].boot,
            attempt,
            header: header.to_owned(),
            latency: self.latency.unwrap_or(random),
            up: true,
            down: true,
            session: None,
        };
        self.devices[device].link = Some(id);
        self.links.insert(id, link);
        self.enter_after(Duration::ZERO, id, Phase::Resolve);
    }

    pub(crate) fn disconnect(&mut self, id: LinkId) {
        if self.links[&id].up {
            self.send_up(id, move |world| world.end_session(id));
        } else {
            self.tidy(id);
        }
    }

    pub(crate) fn answer_ping(&mut self, id: LinkId) {
        if self.has_session(id) {
            self.send_down(id, false, Connection::handle_traffic);
        }
    }

    #[track_caller]
    pub(crate) fn current_link(&self, device: usize, attempt: Attempt) -> LinkId {
        let id = self.devices[device].link.unwrap();
        assert_eq!(self.links[&id].attempt, attempt, "not the current attempt");
        id
    }

    fn has_session(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| link.session.is_some())
    }

    /// Lets an attempt enter a phase.
    fn enter_after(&mut self, delay: Duration, id: LinkId, phase: Phase) {
        let device = self.links[&id].device;
        self.schedule(delay, Some(device), move |world| world.enter(id, phase));
    }

    fn enter(&mut self, id: LinkId, entered: Phase) {
        let Some(link) = self.links.get(&id) else { return };
        let (device, attempt, latency) = (link.device, link.attempt, link.latency);
        let it = &self.devices[device];
        if it.boot != link.boot || it.link != Some(id) {
            return;
        }
        let path = it.path;
        match (path, entered) {
            (Path::BlackHole, Phase::Resolve) | (Path::Good | Path::Portal, _) => {}
            (Path::BlackHole, _) => return,
            (Path::Unreachable, _) => {
                return self.receive_down(id, true, unreachable("no route to host"));
            }
        }
        self.give(device, |it, clock| it.core.handle_phase(clock, attempt, entered));
        let next = match entered {
            Phase::Resolve => Phase::Tcp,
            Phase::Tcp if !self.cloud.up && path == Path::Good => {
                return self.send_down(id, true, unreachable("connection refused"));
            }
            Phase::Tcp => Phase::Tls,
            Phase::Tls => Phase::Upgrade,
            Phase::Upgrade if path == Path::Portal => {
                let answers = ["HTTP 200", "HTTP 302", "HTTP 401", "HTTP 403"];
                let answer = answers[self.random.usize(..answers.len())];
                return self.send_down(id, true, unreachable(answer));
            }
            Phase::Upgrade | Phase::Welcome | _ => {
                return self.send_up(id, move |world| world.upgrade(id));
            }
        };
        self.enter_after(latency * 2, id, next);
    }

    pub(crate) fn send_up(&mut self, id: LinkId, receive: impl FnOnce(&mut Self) + 'static) {
        let Some(link) = self.links.get(&id).filter(|link| link.up) else { return };
        self.schedule(link.latency, None, move |world| {
            let Some(link) = world.links.get_mut(&id).filter(|link| link.up) else { return };
            link.session = link.session.map(|_| world.now);
            receive(world);
        });
    }

    /// Sends something down; `ends` if the device's end is closed by it.
    fn send_down(
        &mut self,
        id: LinkId,
        ends: bool,
        input: impl FnOnce(&mut Connection, Time, Attempt) + 'static,
    ) {
        let Some(link) = self.links.get(&id).filter(|link| link.down) else { return };
        self.schedule(link.latency, Some(link.device), move |world| {
            world.receive_down(id, ends, input);
        });
    }

    fn receive_down(
        &mut self,
        id: LinkId,
        ends: bool,
        input: impl FnOnce(&mut Connection, Time, Attempt),
    ) {
        let Some(link) = self.links.get(&id).filter(|link| link.down) else { return };
        let (device, attempt) = (link.device, link.attempt);
        let it = &mut self.devices[device];
        if it.boot != link.boot || it.link != Some(id) {
            // The device has dropped this link; its kernel answers with a reset.
            return self.send_up(id, move |world| world.end_session(id));
        }
        if ends {
            it.link = None;
            self.tidy(id);
        }
        self.give(device, |it, clock| input(&mut it.core, clock, attempt));
    }

    pub(crate) fn send_frame(&mut self, id: LinkId, frame: &DownFrame) {
        let bytes = Dialect::Bincode.encode_down(frame, &Limits::default()).unwrap();
        self.send_down(id, false, move |core, now, it| core.handle_message(now, it, &bytes));
    }

    pub(crate) fn lose(&mut self, id: LinkId, reason: LostReason) {
        self.send_down(id, true, |core, now, it| core.handle_lost(now, it, reason));
    }

    /// The cloud receives the upgrade request.
    fn upgrade(&mut self, id: LinkId) {
        if !self.cloud.up {
            return self.send_down(id, true, unreachable("reset"));
        }
        let header = std::mem::take(&mut self.links.get_mut(&id).unwrap().header);
        match self.cloud.authenticate(self.now, &header) {
            Response::Refused(refusal, retry_after) => {
                assert!(Refusal::from_response(refusal.status(), Some(refusal.reason())).is_some());
                let error = DialError::Refused { refusal, retry_after };
                self.send_down(id, true, |core, now, it| core.handle_dialed(now, it, Err(error)));
            }
            Response::Accepted(device, token) => {
                if let Some(older) = self.cloud.register(device, id) {
                    self.end_session(older);
                    self.lose(older, LostReason::Closed(CloseReason::new(CloseCode::Replaced)));
                }
                if let Some(link) = self.links.get_mut(&id) {
                    link.session = Some(self.now);
                }
                self.send_down(id, false, |core, now, it| core.handle_dialed(now, it, Ok(())));
                let welcome = self.cloud.welcome(self.now);
                self.send_frame(id, &DownFrame::Welcome(welcome));
                if let Some(token) = token {
                    self.send_frame(id, &DownFrame::Token(token));
                }
                self.schedule(self.cloud.idle_timeout, None, move |world| world.check_idle(id));
                self.schedule(self.cloud.refresh, None, move |world| world.refresh(id));
            }
        }
    }

    pub(crate) fn send_token(&mut self, id: LinkId) {
        if let Some(link) = self.links.get(&id).filter(|link| link.session.is_some()) {
            let token = self.cloud.seal(self.now, &self.devices[link.device].id);
            self.send_frame(id, &DownFrame::Token(token));
        }
    }

    fn refresh(&mut self, id: LinkId) {
        if self.has_session(id) {
            self.send_token(id);
            self.schedule(self.cloud.refresh, None, move |world| world.refresh(id));
        }
    }

    fn check_idle(&mut self, id: LinkId) {
        let Some(last_received) = self.links.get(&id).and_then(|link| link.session) else { return };
        let due = last_received + self.cloud.idle_timeout;
        if due > self.now {
            return self.schedule(due - self.now, None, move |world| world.check_idle(id));
        }
        self.end_session(id);
        self.lose(id, reset());
    }

    /// The cloud drops its end.
    pub(crate) fn end_session(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.session = None;
            self.cloud.unregister(&self.devices[link.device].id, id);
        }
        self.tidy(id);
    }

    /// Removes a link that both ends have dropped.
    fn tidy(&mut self, id: LinkId) {
        let over = |link: &Link| {
            let it = &self.devices[link.device];
            link.session.is_none() && (it.boot != link.boot || it.link != Some(id))
        };
        if self.links.get(&id).is_some_and(over) {
            self.links.remove(&id);
        }
    }
}

fn unreachable(error: &str) -> impl FnOnce(&mut Connection, Time, Attempt) + use<> {
    let error = DialError::Unreachable { phase: Phase::Tcp, error: error.into() };
    |core, now, attempt| core.handle_dialed(now, attempt, Err(error))
}
