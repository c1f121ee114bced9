//! A device that comes and goes: it closes its connection, resets it, or falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use fedecks_testing::cloud::keyring;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::session::{Memory, Session};
use super::tally::{Count, Tally};
use crate::client::{Client, Heard, Target};
use crate::error::Result;
use crate::identity::auth_header;

/// How much later than it should the server may end a silent connection.
const LATE: Duration = Duration::from_secs(15);

/// The close codes for a silent device, and for one that has a newer connection.
const GOING_AWAY: u16 = 1001;
const REPLACED: u16 = 4409;

/// How long a device stays and is away, and how often it does what it does, on average.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) stay: Duration,
    pub(super) away: Duration,
    pub(super) message: Duration,
    pub(super) kept: Duration,
    /// Exactly.
    pub(super) heartbeat: Duration,
    pub(super) idle_timeout: Duration,
}

/// What all devices share.
pub(super) struct World {
    pub(super) target: Target,
    pub(super) pace: Pace,
    pub(super) tally: Tally,
    /// Which of them are connected, as far as they know.
    pub(super) connected: Vec<AtomicBool>,
    /// Turns true when all have to leave.
    pub(super) leaving: watch::Receiver<bool>,
}

impl World {
    pub(super) fn is_connected(&self, index: usize) -> bool {
        self.connected.get(index).is_some_and(|it| it.load(Ordering::Relaxed))
    }

    pub(super) fn connected(&self) -> usize {
        self.connected.iter().filter(|it| it.load(Ordering::Relaxed)).count()
    }

    fn note(&self, index: usize, is_connected: bool) {
        if let Some(connected) = self.connected.get(index) {
            connected.store(is_connected, Ordering::Relaxed);
        }
    }
}

/// How a device ends a connection.
enum Way {
    Close,
    Reset,
    /// Falls silent until the server notices.
    Vanish,
    /// Falls silent, and comes back before the server has noticed.
    VanishAndReturn,
}

impl Way {
    fn choose(random: &mut Rng) -> Self {
        match random.u8(..20) {
            0..14 => Self::Close,
            14..17 => Self::Reset,
            17 => Self::Vanish,
            _ => Self::VanishAndReturn,
        }
    }
}

/// A device.
pub(super) struct Device {
    world: Arc<World>,
    index: usize,
    random: Rng,
    auth: String,
    leaving: watch::Receiver<bool>,
}

impl Device {
    pub(super) fn new(world: Arc<World>, index: usize, seed: u64) -> Result<Self> {
        let auth = auth_header(&keyring(), index)?;
        let random = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
        let leaving = world.leaving.clone();
        Ok(Self { world, index, random, auth, leaving })
    }

    /// Comes for the first time after this time, and comes and goes until all have to leave. Returns how many of
    /// its kept messages are not acknowledged.
    pub(super) async fn live(mut self, mut away: Duration) -> u64 {
        let mut memory = Memory::new(&mut self.random);
        let mut silent = None;
        while !self.has_to_leave_within(away).await {
            away = self.about(self.world.pace.away);
            let client = match Client::connect(&self.world.target, self.index, &self.auth).await {
                Ok(client) => client,
                Err(error) => {
                    self.unexpected(&format!("connect: {error}"));
                    continue;
                }
            };
            self.world.tally.count(Count::Connects);
            if let Some(silent) = silent.take() {
                self.is_ended(silent, Duration::ZERO).await;
            }
            let (way, ended) = match self.visit(client, &mut memory).await {
                Ok(Some(stayed)) => stayed,
                Ok(None) => continue,
                Err(error) => {
                    self.unexpected(&format!("connected: {error}"));
                    continue;
                }
            };
            match way {
                Way::Close => {
                    let left = ended.leave().await;
                    self.done(Count::Closed, left);
                }
                Way::Reset => {
                    let left = ended.reset();
                    self.done(Count::Reset, left);
                }
                Way::Vanish => self.is_ended(ended, self.world.pace.idle_timeout).await,
                Way::VanishAndReturn => {
                    away = away.min(self.world.pace.idle_timeout / 2);
                    silent = Some(ended);
                }
            }
        }
        if let Some(silent) = silent {
            self.is_ended(silent, self.world.pace.idle_timeout).await;
        }
        memory.unacknowledged()
    }

    /// Stays connected until it is time to leave. None if the server has ended the connection.
    async fn visit(
        &mut self,
        client: Client,
        memory: &mut Memory,
    ) -> Result<Option<(Way, Client)>> {
        let world = self.world.clone();
        let mut session = Session::open(client, memory, &world.tally).await?;
        world.note(self.index, true);
        let stayed = self.stay(&mut session).await;
        world.note(self.index, false);
        match stayed? {
            None if *self.leaving.borrow() => Ok(Some((Way::Close, session.client))),
            None => Ok(Some((Way::choose(&mut self.random), session.client))),
            Some(code) => {
                self.unexpected(&format!("ended by the server: {code:?}"));
                Ok(None)
            }
        }
    }

    /// Pings, sends messages, and answers, until it is time to leave or the server ends the connection.
    async fn stay(&mut self, session: &mut Session<'_>) -> Result<Option<Option<u16>>> {
        let Pace { stay, message, kept, heartbeat, .. } = self.world.pace;
        let now = Instant::now();
        let leave = now + self.about(stay);
        // Those that came together do not ping together.
        let mut ping = now + heartbeat.mul_f64(self.random.f64());
        let mut say = now + self.about(message);
        let mut keep = now + self.about(kept);
        loop {
            let due = leave.min(ping).min(say).min(keep);
            tokio::select! {
                heard = session.client.next() => {
                    if let Some(code) = session.on(heard?).await? {
                        return Ok(Some(code));
                    }
                }
                _ = self.leaving.changed() => return Ok(None),
                () = sleep_until(due) => {
                    if due == leave {
                        return Ok(None);
                    } else if due == ping {
                        ping += heartbeat;
                        self.world.tally.count(Count::Pings);
                        session.client.send_ping().await?;
                    } else if due == say {
                        say += self.about(message);
                        session.say().await?;
                    } else {
                        keep += self.about(kept);
                        session.keep(&mut self.random).await?;
                    }
                }
            }
        }
    }

    /// Waits, and says whether all have to leave meanwhile.
    async fn has_to_leave_within(&mut self, away: Duration) -> bool {
        tokio::select! {
            _ = self.leaving.wait_for(|leaving| *leaving) => true,
            () = sleep(away) => false,
        }
    }

    /// The server has to end a connection on which the device is silent by now, or within this time.
    async fn is_ended(&self, mut client: Client, within: Duration) {
        let ended = async {
            loop {
                if let Heard::End(code) = client.next().await? {
                    return Ok::<_, crate::error::Error>(code);
                }
            }
        };
        let tally = &self.world.tally;
        match timeout(within + LATE, ended).await {
            Ok(Ok(Some(GOING_AWAY))) => tally.count(Count::Expired),
            Ok(Ok(Some(REPLACED))) => tally.count(Count::Replaced),
            other => self.unexpected(&format!("a silent connection: {other:?}")),
        }
    }

    fn done(&self, how: Count, done: Result<()>) {
        match done {
            Ok(()) => self.world.tally.count(how),
            Err(error) => self.unexpected(&format!("{how:?}: {error}")),
        }
    }

    fn unexpected(&self, what: &str) {
        self.world.tally.unexpected(format!("device {}: {what}", self.index));
    }

    /// A random time with this mean, as of what happens independently of when it happened last.
    fn about(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.random.f64()).ln())
    }
}
