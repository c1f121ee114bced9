//! A device: the connection, its store and what can be said about both afterwards.

use std::time::Duration;

use fedecks_device_core::{Config, Connection, Event, LoginId, Time};
use fedecks_protocol::{Credentials, DeviceId, IssuedToken};

use crate::cloud::PASSWORD;
use crate::world::LinkId;

/// The way from a device to the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    Good,
    /// Every attempt fails at once.
    Refusing,
    /// Nothing that is sent arrives, and nothing says so.
    Hole,
    /// A captive portal answers in the cloud's place.
    Portal,
}

/// What the data partition does.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// From then on it is there.
    pub(crate) mounted_at: Duration,
    pub(crate) fails: bool,
    pub(crate) token: Option<IssuedToken>,
}

/// Sums of what a device did.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sums {
    pub(crate) dials: Vec<Duration>,
    pub(crate) pings: u32,
    pub(crate) forgets: u32,
    pub(crate) connects: u32,
    pub(crate) losses: u32,
    pub(crate) unregistered: u32,
    pub(crate) replaced: u32,
    pub(crate) messages: u32,
    pub(crate) answers: u32,
}

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) core: Connection,
    pub(crate) link: Option<LinkId>,
    pub(crate) road: Road,
    pub(crate) store: Store,
    pub(crate) sums: Sums,
    /// Counted by power cuts, so that what was under way before one is told apart.
    pub(crate) boot: u64,
    booted_at: Duration,
    pub(crate) asleep_until: Duration,
    /// For when the next wake-up is in the queue.
    pub(crate) wake: Option<Duration>,
    seed: u64,
    logins: u64,
}

impl Device {
    pub(crate) fn new(id: &str, seed: u64) -> Self {
        let id = DeviceId::new(id).unwrap();
        Self {
            core: Connection::new(Config::new(id.clone()), seed),
            id,
            link: None,
            road: Road::Good,
            store: Store { mounted_at: Duration::ZERO, fails: false, token: None },
            sums: Sums::default(),
            boot: 0,
            booted_at: Duration::ZERO,
            asleep_until: Duration::ZERO,
            wake: None,
            seed,
            logins: 0,
        }
    }

    /// Only what the store holds outlives this.
    pub(crate) fn power_cut(&mut self, now: Duration) {
        self.boot += 1;
        self.booted_at = now;
        self.link = None;
        self.wake = None;
        self.asleep_until = now;
        let seed = self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(self.boot);
        self.core = Connection::new(Config::new(self.id.clone()), seed);
    }

    /// The clock that goes on in suspend and begins at each start.
    pub(crate) fn clock(&self, now: Duration) -> Time {
        Time::new(now - self.booted_at)
    }

    /// When the connection wants to be woken, on the world's clock.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.core.poll_timeout().map(|at| at.since_start() + self.booted_at)
    }

    pub(crate) fn login(&mut self, now: Duration, password: &str) {
        self.logins += 1;
        let credentials = Credentials::new().with("username", "arthur").with("password", password);
        self.core.handle_login(self.clock(now), LoginId(self.logins), credentials);
    }

    pub(crate) fn login_well(&mut self, now: Duration) {
        self.login(now, PASSWORD);
    }

    pub(crate) fn note(&mut self, event: &Event) {
        let sums = &mut self.sums;
        match event {
            Event::Unregistered => sums.unregistered += 1,
            Event::Connected => sums.connects += 1,
            Event::ConnectionLost { .. } => sums.losses += 1,
            Event::Replaced => sums.replaced += 1,
            Event::Message(_) | Event::RawMessage(_) => sums.messages += 1,
            Event::ConnectionScheduled { .. }
            | Event::Connecting { .. }
            | Event::ConnectionFailed { .. }
            | Event::StoreFailed { .. } => {}
        }
    }
}
