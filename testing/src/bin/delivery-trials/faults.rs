//! The faults of a trial: which, when and how long, all by its seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use fedecks_testing::history::Program;
use fedecks_testing::tcp_relay::{Link, NewConnections};

/// A kind of fault, as it is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The link is cut silently, and restored.
    Cut,
    /// All connections are reset.
    Reset,
    /// The link is slow for some time.
    Slow,
    /// The device service is killed, and started again.
    KillDevice,
    /// The server is killed, and started again.
    KillCloud,
    /// Both are.
    KillBoth,
}

/// Faults of a trial: those of the link and those of the programs happen at the same time.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) link: Vec<LinkFault>,
    pub(crate) kills: Vec<Kill>,
}

/// Something happens to the link after a pause.
#[derive(Debug)]
pub(crate) struct LinkFault {
    pub(crate) pause: Duration,
    /// `None`: all connections are reset.
    pub(crate) link: Option<Link>,
    pub(crate) lasts: Duration,
    /// Whether all connections are reset after it, as by a proxy that returns; else silent ones stay silent.
    pub(crate) then_reset: bool,
}

/// Programs are killed after a pause.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) pause: Duration,
    pub(crate) programs: &'static [Program],
    /// Before they are started again.
    pub(crate) away: Duration,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Cut, Self::Reset, Self::Slow, Self::KillDevice, Self::KillCloud, Self::KillBoth];

    fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::Slow => "slow",
            Self::KillDevice => "kill-device",
            Self::KillCloud => "kill-cloud",
            Self::KillBoth => "kill-both",
        }
    }

    fn programs(self) -> Option<&'static [Program]> {
        match self {
            Self::KillDevice => Some(&[Program::Device]),
            Self::KillCloud => Some(&[Program::Cloud]),
            Self::KillBoth => Some(&[Program::Device, Program::Cloud]),
            Self::Cut | Self::Reset | Self::Slow => None,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("the fault {name:?} is unknown; there are {names}")
        })
    }
}

impl Schedule {
    /// Faults of these kinds that begin within `duration`, at least one.
    pub(crate) fn new(seed: u64, kinds: &[Kind], duration: Duration) -> Self {
        let mut random = Rng::with_seed(seed);
        let (kills, links): (Vec<Kind>, Vec<Kind>) =
            kinds.iter().partition(|kind| kind.programs().is_some());
        let mut schedule = Self::default();
        let mut left = duration;
        while let (Some(kind), Some(pause)) = (random.choice(&links), pause(&mut random, left)) {
            let (link, lasts) = link_fault(*kind, &mut random);
            left = left.saturating_sub(pause + lasts);
            let then_reset = random.bool();
            schedule.link.push(LinkFault { pause, link, lasts, then_reset });
        }
        let mut left = duration;
        while let (Some(kind), Some(pause)) = (random.choice(&kills), pause(&mut random, left)) {
            let away = millis(&mut random, 0, 1500);
            left = left.saturating_sub(pause + away);
            let programs = kind.programs().unwrap_or_default();
            schedule.kills.push(Kill { pause, programs, away });
        }
        schedule
    }
}

fn link_fault(kind: Kind, random: &mut Rng) -> (Option<Link>, Duration) {
    match kind {
        Kind::Cut => {
            let silent = random.bool();
            let new = if silent { NewConnections::Silent } else { NewConnections::Refused };
            (Some(Link::Cut(new)), millis(random, 300, 4000))
        }
        Kind::Slow => {
            let (bytes_per_second, latency) = (random.u64(1_000..50_000), millis(random, 50, 800));
            (Some(Link::Slow { bytes_per_second, latency }), millis(random, 500, 3000))
        }
        Kind::Reset | Kind::KillDevice | Kind::KillCloud | Kind::KillBoth => (None, Duration::ZERO),
    }
}

/// A pause before the next fault, unless too little time is left.
fn pause(random: &mut Rng, left: Duration) -> Option<Duration> {
    let pause = millis(random, 200, 2000);
    (left > Duration::from_millis(200)).then_some(pause.min(left))
}

fn millis(random: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.u64(from..=to))
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasts = self.lasts.as_millis();
        match self.link {
            None => return f.write_str("reset"),
            Some(Link::Up) => f.write_str("up")?,
            Some(Link::Cut(NewConnections::Silent)) => write!(f, "cut {lasts} ms")?,
            Some(Link::Cut(NewConnections::Refused)) => write!(f, "cut {lasts} ms, refusing")?,
            Some(Link::Slow { bytes_per_second, latency }) => {
                let latency = latency.as_millis();
                write!(f, "slow {lasts} ms, {bytes_per_second} B/s, {latency} ms late")?;
            }
        }
        f.write_str(if self.then_reset { ", then reset" } else { "" })
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.programs.iter().map(|program| match program {
            Program::Device => "device",
            Program::Cloud => "cloud",
        });
        let names = names.collect::<Vec<_>>().join(" and ");
        write!(f, "kill {names}, {} ms away", self.away.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(6);

    #[test]
    fn a_seed_repeats_its_faults() {
        let schedule = |seed| format!("{:?}", Schedule::new(seed, &Kind::ALL, DURATION));
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
    }

    #[test]
    fn every_selected_kind_occurs_and_no_other() {
        for kind in Kind::ALL {
            let schedule = Schedule::new(1, &[kind], DURATION);
            assert_eq!(schedule.kills.is_empty(), kind.programs().is_none(), "{kind:?}");
            assert_ne!(schedule.link.is_empty(), schedule.kills.is_empty(), "{kind:?}");
            assert!(schedule.link.iter().all(|fault| match fault.link {
                None => kind == Kind::Reset,
                Some(Link::Cut(_)) => kind == Kind::Cut,
                Some(Link::Slow { .. }) => kind == Kind::Slow,
                Some(Link::Up) => false,
            }));
            assert!(schedule.kills.iter().all(|kill| Some(kill.programs) == kind.programs()));
        }
    }

    #[test]
    fn faults_begin_within_their_time() {
        for seed in 0..100 {
            let schedule = Schedule::new(seed, &Kind::ALL, DURATION);
            let links = schedule.link.iter().map(|it| (it.pause, it.lasts));
            let (pauses, lasts): (Vec<_>, Vec<_>) = links.unzip();
            let last = lasts.last().copied().unwrap_or_default();
            let all = pauses.iter().sum::<Duration>() + lasts.iter().sum::<Duration>();
            assert!(all - last <= DURATION, "{schedule:?}");
        }
    }
}
