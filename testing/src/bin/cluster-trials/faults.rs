//! The faults of a trial: which, where, when and how long, all by its seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::timeout;

use crate::cluster::{Cluster, NODES};
use crate::mode::Mode;
use crate::network::Host;
use crate::observers::is_cut_off;

/// How long a server is away at most while it is upgraded.
const LONGEST_UPGRADE: Duration = Duration::from_secs(3);

/// How long it may take to start.
const STARTS: Duration = Duration::from_secs(60);

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A server is killed, and started again.
    KillNode,
    /// A server is stopped for some time.
    StopNode,
    /// The servers are ended in order and started again, one after the other.
    Upgrade,
    /// PostgreSQL is killed, and started again.
    KillPostgres,
    /// PostgreSQL is shut down at once, and started again.
    QuitPostgres,
    /// PostgreSQL is stopped for some time.
    StopPostgres,
    /// nats-server is killed, and started again.
    KillNats,
    /// nats-server is stopped for some time.
    StopNats,
    /// Nothing passes between a server and PostgreSQL.
    CutPostgres,
    /// Nothing passes between a server and nats-server.
    CutNats,
    /// Nothing passes between a server and both.
    CutBoth,
    /// Nothing that a server sends to PostgreSQL arrives.
    MutePostgres,
    /// Nothing that PostgreSQL sends to a server arrives.
    DeafPostgres,
    /// Nothing that a server sends to nats-server arrives.
    MuteNats,
    /// Nothing that nats-server sends to a server arrives.
    DeafNats,
    /// A transaction of another program is open for long.
    LongWrite,
    /// The clock of a server is a minute ahead or behind.
    Clock,
}

/// A fault that begins after a pause.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) pause: Duration,
    pub(crate) kind: Kind,
    /// The server, for those that have one. With standbys it is counted from the one that serves.
    pub(crate) node: usize,
    pub(crate) lasts: Duration,
    /// For the clock, in seconds.
    pub(crate) shift: i64,
}

const NAMES: [(Kind, &str); 17] = [
    (Kind::KillNode, "kill-node"),
    (Kind::StopNode, "stop-node"),
    (Kind::Upgrade, "upgrade"),
    (Kind::KillPostgres, "kill-postgres"),
    (Kind::QuitPostgres, "quit-postgres"),
    (Kind::StopPostgres, "stop-postgres"),
    (Kind::KillNats, "kill-nats"),
    (Kind::StopNats, "stop-nats"),
    (Kind::CutPostgres, "cut-postgres"),
    (Kind::CutNats, "cut-nats"),
    (Kind::CutBoth, "cut-both"),
    (Kind::MutePostgres, "mute-postgres"),
    (Kind::DeafPostgres, "deaf-postgres"),
    (Kind::MuteNats, "mute-nats"),
    (Kind::DeafNats, "deaf-nats"),
    (Kind::LongWrite, "long-write"),
    (Kind::Clock, "clock"),
];

impl Kind {
    /// Those that matter in this mode.
    pub(crate) fn all(mode: Mode) -> Vec<Self> {
        let all = NAMES.into_iter().map(|(kind, _)| kind);
        all.filter(|kind| mode == Mode::Several || !kind.is_of_several()).collect()
    }

    fn is_of_several(self) -> bool {
        use Kind::{CutNats, DeafNats, KillNats, MuteNats, StopNats, Upgrade};
        [Upgrade, KillNats, StopNats, CutNats, MuteNats, DeafNats].contains(&self)
    }

    fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn has_node(self) -> bool {
        ![
            Self::Upgrade,
            Self::KillPostgres,
            Self::QuitPostgres,
            Self::StopPostgres,
            Self::KillNats,
            Self::StopNats,
            Self::LongWrite,
        ]
        .contains(&self)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = NAMES.into_iter().find(|(_, known)| *known == name);
        found.map(|(kind, _)| kind).ok_or_else(|| format!("{name:?} is not a fault"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        if self.kind.has_node() {
            write!(f, " {}", self.node)?;
        }
        if self.kind == Kind::Clock {
            write!(f, " {:+} s", self.shift)?;
        }
        write!(f, " for {} ms", self.lasts.as_millis())
    }
}

/// Faults one after the other, for about this time in all.
pub(crate) fn schedule(seed: u64, mode: Mode, kinds: &[Kind], duration: Duration) -> Vec<Fault> {
    let mut random = Rng::with_seed(seed);
    let mut faults = Vec::new();
    let mut passed = Duration::ZERO;
    let mut left = Vec::new();
    while passed < duration && !kinds.is_empty() {
        // Each kind once before one comes again.
        if left.is_empty() {
            left = kinds.to_vec();
            random.shuffle(&mut left);
        }
        let Some(kind) = left.pop() else { break };
        let pause = Duration::from_millis(random.u64(500..4_000));
        // Long enough for others to take over, or not.
        let is_long = random.u8(..3) == 0;
        let lasts = if is_long { 12_000..30_000 } else { 300..6_000 };
        let lasts = Duration::from_millis(random.u64(lasts));
        let of_any = random.usize(..NODES);
        let node = if mode == Mode::Standby && random.u8(..4) > 0 { 0 } else { of_any };
        let shift = if random.bool() { 60 } else { -60 };
        passed += pause + lasts;
        faults.push(Fault { pause, kind, node, lasts, shift });
    }
    faults
}

impl Cluster {
    /// Has a fault happen, to its end.
    pub(crate) async fn suffer(&self, fault: &Fault) {
        let Fault { node, lasts, .. } = *fault;
        let node = &self.nodes[node];
        let (postgres, nats) = (&*self.database.host, &self.nats.host);
        match fault.kind {
            Kind::KillNode => node.kill(lasts).await,
            Kind::StopNode => node.pause(lasts).await,
            Kind::Upgrade => self.upgrade(lasts).await,
            Kind::KillPostgres => self.database.kill(lasts).await,
            Kind::QuitPostgres => self.database.shut_down(lasts).await,
            Kind::StopPostgres => self.database.pause(lasts).await,
            Kind::KillNats => self.nats.kill(lasts).await,
            Kind::StopNats => self.nats.pause(lasts).await,
            Kind::CutPostgres => {
                cut(&[(&node.host, postgres), (postgres, &node.host)], lasts).await
            }
            Kind::CutNats => cut(&[(&node.host, nats), (nats, &node.host)], lasts).await,
            Kind::CutBoth => cut(&[(&node.host, postgres), (&node.host, nats)], lasts).await,
            Kind::MutePostgres => cut(&[(&node.host, postgres)], lasts).await,
            Kind::DeafPostgres => cut(&[(postgres, &node.host)], lasts).await,
            Kind::MuteNats => cut(&[(&node.host, nats)], lasts).await,
            Kind::DeafNats => cut(&[(nats, &node.host)], lasts).await,
            Kind::LongWrite => self.database.write_for(lasts).await,
            Kind::Clock => {
                node.clock.set(fault.shift, false);
                tokio::time::sleep(lasts).await;
                node.clock.set(0, false);
            }
        }
    }
}

impl Cluster {
    /// Ends each server in order and starts it again, after the one before is ready.
    async fn upgrade(&self, away: Duration) {
        for (node, api) in self.nodes.iter().zip(&self.apis) {
            node.end(away.min(LONGEST_UPGRADE)).await;
            let ready = async {
                while is_cut_off(api).await != Some(false) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(STARTS, ready).await.expect("a server that was upgraded is ready");
        }
    }
}

/// Loses what the first of each pair sends to the second.
async fn cut(pairs: &[(&Host, &Host)], lasts: Duration) {
    for (from, to) in pairs {
        from.stop_sending_to(to).await;
    }
    tokio::time::sleep(lasts).await;
    for (from, to) in pairs {
        from.send_again_to(to).await;
    }
}
