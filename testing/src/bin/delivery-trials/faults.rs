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
    /// The data partition fails in this way for some time.
    Disk(DiskFailure),
    /// The device service is killed, and its data directory emptied.
    Wiped,
    /// The device service is killed, its data directory copied, and a second device with the copy runs for some time.
    Copied,
    /// The device service is killed, and its data directory replaced by an earlier copy.
    Restored,
    /// The server is killed, and its store replaced by an earlier backup.
    StoreRestored,
}

/// How the data partition fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFailure {
    /// It has no room left.
    Full,
    /// The kernel has found an error in the file system, and writes no more.
    ReadOnly,
    /// The disk is pulled out while files on it are open: each access fails, and the partition is gone.
    Lost,
}

/// Faults of a trial: those of the link, of the programs and of the disk happen at the same time.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) link: Vec<LinkFault>,
    pub(crate) kills: Vec<Kill>,
    pub(crate) disk: Vec<DiskFault>,
}

/// The data partition fails after a pause.
#[derive(Debug)]
pub(crate) struct DiskFault {
    pub(crate) pause: Duration,
    pub(crate) failure: DiskFailure,
    pub(crate) lasts: Duration,
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
    pub(crate) meanwhile: Meanwhile,
}

/// What happens to the storage of killed programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    Nothing,
    WipeData,
    BackUpData,
    RestoreData,
    /// A second device runs for this time.
    CopyData(Duration),
    /// While the server runs.
    BackUpStore,
    RestoreStore,
}

impl Kind {
    /// Those that need nothing but the programs.
    pub(crate) const USUAL: [Self; 6] =
        [Self::Cut, Self::Reset, Self::Slow, Self::KillDevice, Self::KillCloud, Self::KillBoth];

    /// Those of the storage.
    pub(crate) const STORAGE: [Self; 7] = [
        Self::Disk(DiskFailure::Full),
        Self::Disk(DiskFailure::ReadOnly),
        Self::Disk(DiskFailure::Lost),
        Self::Wiped,
        Self::Copied,
        Self::Restored,
        Self::StoreRestored,
    ];

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::USUAL.into_iter().chain(Self::STORAGE)
    }

    /// Whether it needs a data partition.
    pub(crate) fn is_of_partition(self) -> bool {
        Self::STORAGE.contains(&self) && self != Self::StoreRestored
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::Slow => "slow",
            Self::KillDevice => "kill-device",
            Self::KillCloud => "kill-cloud",
            Self::KillBoth => "kill-both",
            Self::Disk(DiskFailure::Full) => "full",
            Self::Disk(DiskFailure::ReadOnly) => "read-only",
            Self::Disk(DiskFailure::Lost) => "lost",
            Self::Wiped => "wiped",
            Self::Copied => "copied",
            Self::Restored => "restored",
            Self::StoreRestored => "store-restored",
        }
    }

    fn programs(self) -> Option<&'static [Program]> {
        match self {
            Self::KillDevice | Self::Wiped | Self::Copied | Self::Restored => {
                Some(&[Program::Device])
            }
            Self::KillCloud | Self::StoreRestored => Some(&[Program::Cloud]),
            Self::KillBoth => Some(&[Program::Device, Program::Cloud]),
            Self::Cut | Self::Reset | Self::Slow | Self::Disk(_) => None,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::all().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            let names = Self::all().map(Self::name).collect::<Vec<_>>().join(", ");
            format!("the fault {name:?} is unknown; there are {names}")
        })
    }
}

impl Schedule {
    /// Faults of these kinds that begin within `duration`, at least one.
    pub(crate) fn new(seed: u64, kinds: &[Kind], duration: Duration) -> Self {
        let mut random = Rng::with_seed(seed);
        let of = |choose: fn(&Kind) -> bool| kinds.iter().copied().filter(choose).collect();
        let kills: Vec<Kind> = of(|kind| kind.programs().is_some());
        let disks: Vec<Kind> = of(|kind| matches!(kind, Kind::Disk(_)));
        let links: Vec<Kind> =
            of(|kind| kind.programs().is_none() && !matches!(kind, Kind::Disk(_)));
        let mut schedule = Self::default();
        let mut left = duration;
        while let (Some(kind), Some(pause)) = (random.choice(&links), pause(&mut random, left)) {
            let (link, lasts) = link_fault(*kind, &mut random);
            left = left.saturating_sub(pause + lasts);
            let then_reset = random.bool();
            schedule.link.push(LinkFault { pause, link, lasts, then_reset });
        }
        let (mut left, mut backups) = (duration, Backups::default());
        while let (Some(kind), Some(pause)) = (random.choice(&kills), pause(&mut random, left)) {
            let away = millis(&mut random, 0, 1500);
            let meanwhile = backups.meanwhile(*kind, &mut random);
            let (programs, away) = if meanwhile == Meanwhile::BackUpStore {
                (&[][..], Duration::ZERO)
            } else {
                (kind.programs().unwrap_or_default(), away)
            };
            let lasts = if let Meanwhile::CopyData(lasts) = meanwhile { lasts } else { away };
            left = left.saturating_sub(pause + away + lasts);
            schedule.kills.push(Kill { pause, programs, away, meanwhile });
        }
        let mut left = duration;
        while let (Some(kind), Some(pause)) = (random.choice(&disks), pause(&mut random, left)) {
            let Kind::Disk(failure) = *kind else { continue };
            let lasts = millis(&mut random, 500, 4000);
            left = left.saturating_sub(pause + lasts);
            schedule.disk.push(DiskFault { pause, failure, lasts });
        }
        schedule
    }
}

/// Which backups were made, of which one can be restored.
#[derive(Debug, Default)]
struct Backups {
    of_data: bool,
    of_store: bool,
}

impl Backups {
    fn meanwhile(&mut self, kind: Kind, random: &mut Rng) -> Meanwhile {
        match kind {
            Kind::Wiped => Meanwhile::WipeData,
            Kind::Copied => Meanwhile::CopyData(millis(random, 500, 4000)),
            Kind::Restored if self.of_data && random.u8(..4) > 0 => Meanwhile::RestoreData,
            Kind::Restored => {
                self.of_data = true;
                Meanwhile::BackUpData
            }
            Kind::StoreRestored if self.of_store && random.u8(..4) > 0 => Meanwhile::RestoreStore,
            Kind::StoreRestored => {
                self.of_store = true;
                Meanwhile::BackUpStore
            }
            Kind::Cut
            | Kind::Reset
            | Kind::Slow
            | Kind::KillDevice
            | Kind::KillCloud
            | Kind::KillBoth
            | Kind::Disk(_) => Meanwhile::Nothing,
        }
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
        Kind::Reset
        | Kind::KillDevice
        | Kind::KillCloud
        | Kind::KillBoth
        | Kind::Disk(_)
        | Kind::Wiped
        | Kind::Copied
        | Kind::Restored
        | Kind::StoreRestored => (None, Duration::ZERO),
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
        let away = self.away.as_millis();
        match self.meanwhile {
            Meanwhile::Nothing => write!(f, "kill {names}, {away} ms away"),
            Meanwhile::WipeData => write!(f, "wipe data, {away} ms away"),
            Meanwhile::BackUpData => write!(f, "back up data, {away} ms away"),
            Meanwhile::RestoreData => write!(f, "restore data, {away} ms away"),
            Meanwhile::CopyData(lasts) => {
                write!(f, "copy data, {away} ms away, second device {} ms", lasts.as_millis())
            }
            Meanwhile::BackUpStore => f.write_str("back up store"),
            Meanwhile::RestoreStore => write!(f, "restore store, {away} ms away"),
        }
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {} {} ms", Kind::Disk(self.failure).name(), self.lasts.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(6);

    fn new(seed: u64) -> Schedule {
        Schedule::new(seed, &Kind::all().collect::<Vec<_>>(), DURATION)
    }

    #[test]
    fn a_seed_repeats_its_faults() {
        let schedule = |seed| format!("{:?}", new(seed));
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
    }

    #[test]
    fn every_selected_kind_occurs_and_no_other() {
        for kind in Kind::all() {
            let schedule = Schedule::new(1, &[kind], DURATION);
            let Schedule { link, kills, disk } = &schedule;
            assert_eq!(kills.is_empty(), kind.programs().is_none(), "{kind:?}");
            assert_eq!(disk.is_empty(), !matches!(kind, Kind::Disk(_)), "{kind:?}");
            assert_eq!(link.is_empty(), !kills.is_empty() || !disk.is_empty(), "{kind:?}");
            assert!(link.iter().all(|fault| match fault.link {
                None => kind == Kind::Reset,
                Some(Link::Cut(_)) => kind == Kind::Cut,
                Some(Link::Slow { .. }) => kind == Kind::Slow,
                Some(Link::Up) => false,
            }));
            assert!(disk.iter().all(|fault| kind == Kind::Disk(fault.failure)));
            for Kill { programs, meanwhile, .. } in kills {
                let expected = match meanwhile {
                    Meanwhile::Nothing => kind.programs() == Some(programs),
                    Meanwhile::WipeData => kind == Kind::Wiped,
                    Meanwhile::CopyData(_) => kind == Kind::Copied,
                    Meanwhile::BackUpData | Meanwhile::RestoreData => kind == Kind::Restored,
                    Meanwhile::BackUpStore => kind == Kind::StoreRestored && programs.is_empty(),
                    Meanwhile::RestoreStore => kind == Kind::StoreRestored,
                };
                assert!(expected, "{kind:?}: {meanwhile:?}");
            }
        }
    }

    #[test]
    fn only_a_backup_that_was_made_is_restored() {
        for seed in 0..100 {
            let done: Vec<_> = new(seed).kills.iter().map(|kill| kill.meanwhile).collect();
            let first = |what| done.iter().position(|it| *it == what).unwrap_or(usize::MAX);
            for (backup, restore) in [
                (Meanwhile::BackUpData, Meanwhile::RestoreData),
                (Meanwhile::BackUpStore, Meanwhile::RestoreStore),
            ] {
                assert!(first(backup) <= first(restore), "{seed}");
            }
        }
    }

    #[test]
    fn faults_begin_within_their_time() {
        for seed in 0..100 {
            let schedule = new(seed);
            let links = schedule.link.iter().map(|it| (it.pause, it.lasts));
            let disks = schedule.disk.iter().map(|it| (it.pause, it.lasts));
            for times in [links.collect::<Vec<_>>(), disks.collect()] {
                let (pauses, lasts): (Vec<_>, Vec<_>) = times.into_iter().unzip();
                let last = lasts.last().copied().unwrap_or_default();
                let all = pauses.iter().sum::<Duration>() + lasts.iter().sum::<Duration>();
                assert!(all - last <= DURATION, "{schedule:?}");
            }
        }
    }
}
