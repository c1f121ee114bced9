//! A device: its connection, its store, and the sums that tests check.

use std::time::Duration;

use fedecks_device_core::{Config, Connection, Event, LoginId, Nonce, Time};
use fedecks_protocol::{Credentials, DeviceId, IssuedToken};

use crate::link::LinkId;

/// The network path from a device to the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Good,
    /// Every attempt fails immediately.
    Unreachable,
    /// Everything that is sent is silently dropped.
    BlackHole,
    /// A captive portal answers instead of the cloud.
    Portal,
}

/// The data partition.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// It is not available before that.
    pub(crate) mounted_at: Duration,
    pub(crate) fails: bool,
    pub(crate) token: Option<IssuedToken>,
    pub(crate) nonce: Option<Nonce>,
}

/// What a device has done so far.
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
    pub(crate) path: Path,
    pub(crate) store: Store,
    pub(crate) sums: Sums,
    /// The number of power cuts. Events from before the last one are void.
    pub(crate) boot: u64,
    booted_at: Duration,
    pub(crate) asleep_until: Duration,
    /// The time of the wake-up in the queue.
    pub(crate) wake_up: Option<Duration>,
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
            path: Path::Good,
            store: Store { mounted_at: Duration::ZERO, fails: false, token: None, nonce: None },
            sums: Sums::default(),
            boot: 0,
            booted_at: Duration::ZERO,
            asleep_until: Duration::ZERO,
            wake_up: None,
            seed,
            logins: 0,
        }
    }

    /// Restarts the device, which loses everything but its store.
    pub(crate) fn power_cut(&mut self, now: Duration) {
        self.boot += 1;
        self.booted_at = now;
        self.link = None;
        self.wake_up = None;
        self.asleep_until = now;
        let seed = self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(self.boot);
        self.core = Connection::new(Config::new(self.id.clone()), seed);
    }

    /// The device's clock, which includes suspend and starts at each boot.
    pub(crate) fn clock(&self, now: Duration) -> Time {
        Time::new(now - self.booted_at)
    }

    /// The connection's deadline by the world's clock.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.core.poll_timeout().map(|at| at.since_start() + self.booted_at)
    }

    pub(crate) fn login(&mut self, clock: Time, password: &str) {
        self.logins += 1;
        let credentials = Credentials::new().with("username", "arthur").with("password", password);
        self.core.handle_login(clock, LoginId(self.logins), credentials);
    }

    /// Loads the token from the store.
    pub(crate) fn load(&mut self, now: Duration) {
        let token = self.store.token.clone().filter(|_| now >= self.store.mounted_at);
        self.core.handle_loaded(self.clock(now), Ok(token));
    }

    /// Loads the nonce, or makes one.
    pub(crate) fn load_nonce(&mut self, clock: Time, login: LoginId) {
        let fresh = u128::from(self.seed) << 64 | u128::from(self.logins);
        let nonce = *self.store.nonce.get_or_insert(Nonce::new(fresh.to_be_bytes()));
        self.core.handle_nonce(clock, login, nonce);
    }

    /// Saves a token in the store, or deletes it.
    pub(crate) fn write(&mut self, now: Duration, token: Option<IssuedToken>) {
        let works = now >= self.store.mounted_at && !self.store.fails;
        if works {
            self.store.token = token;
        }
        let result = if works { Ok(()) } else { Err("read-only".to_owned()) };
        self.core.handle_stored(self.clock(now), result);
    }
}

impl Sums {
    pub(crate) fn add(&mut self, event: &Event) {
        match event {
            Event::Unregistered => self.unregistered += 1,
            Event::Connected => self.connects += 1,
            Event::ConnectionLost { .. } => self.losses += 1,
            Event::Replaced => self.replaced += 1,
            Event::Message(_) | Event::RawMessage(_) => self.messages += 1,
            Event::TokenLate
            | Event::ConnectionScheduled { .. }
            | Event::Connecting { .. }
            | Event::ConnectionFailed { .. }
            | Event::StoreFailed { .. }
            | Event::Missed { .. }
            | _ => {}
        }
    }
}
