//! Debounces what a network watch observes: whether there is a network, and whether it is a different
//! one than before. Nothing here stops the connection from trying; it only suggests when.

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::time::Time;

/// What a network watch reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// There is a network again.
    Up,
    /// There is a network, but a different one than before.
    Changed,
    /// There seems to be no network.
    Down,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Changed => "changed",
            Self::Down => "down",
        })
    }
}

/// The raw state of the network, as its source reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// According to NetworkManager.
    Manager(Manager),
    /// According to the kernel.
    Routes(Routes),
    /// The source is no longer available.
    Unavailable,
}

/// The relevant properties of `org.freedesktop.NetworkManager`, as on D-Bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// `State`, an `NMState`: 0, 10, 20 and so on up to 70.
    pub state: u32,
    /// `Connectivity`, an `NMConnectivityState`: 0 to 4.
    pub connectivity: u32,
    /// `PrimaryConnection`, an object path; `/` if there is none.
    pub primary: String,
    /// `Startup`: NetworkManager has not yet tried to activate everything.
    pub is_starting: bool,
}

/// The default routes over links with a carrier, and the addresses of those links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// The default routes.
    pub defaults: BTreeSet<DefaultRoute>,
    /// Pairs of a link's index and one of its addresses.
    pub addresses: BTreeSet<(u32, IpAddr)>,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefaultRoute {
    /// Index of the link.
    pub link: u32,
    /// Address of the next hop; `None` for a route by link only.
    pub gateway: Option<IpAddr>,
    /// Lower is preferred.
    pub metric: u32,
}

/// Debounces network observations. Time is an argument.
///
/// - A network that comes up is reported immediately.
/// - A network that is down for [`NetworkDebouncer::DOWN`] is reported then; if it comes back earlier,
///   that counts as a change at most.
/// - A change is reported [`NetworkDebouncer::SETTLE`] after its first observation, however many follow,
///   and no sooner than [`NetworkDebouncer::INTERVAL`] after the previous report.
#[derive(Debug, Default)]
pub struct NetworkDebouncer {
    /// Whether the last report was of a network; `None` before the first.
    reported: Option<bool>,
    reported_at: Option<Time>,
    /// The network that was observed last.
    key: Option<NetworkKey>,
    down_since: Option<Time>,
    changed_since: Option<Time>,
}

/// Distinguishes one network from another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NetworkKey {
    Primary(String, u32),
    Routes(Routes),
}

enum Assessment {
    Up(NetworkKey),
    Down,
    /// In transition; the previous observation remains in force.
    Unclear,
    /// Nothing is known; the previous observation is void.
    Unknown,
}

impl NetworkDebouncer {
    /// How long the network has to be down before that is reported.
    pub const DOWN: Duration = Duration::from_millis(1_000);
    /// How long a change is given to settle.
    pub const SETTLE: Duration = Duration::from_millis(50);
    /// The minimum time between a report and a change after it.
    pub const INTERVAL: Duration = Duration::from_millis(1_000);

    /// A debouncer without any observation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles the current observation of a source. Returns what to report now.
    pub fn handle_observation(&mut self, now: Time, observation: Observation) -> Option<Network> {
        match observation.assess() {
            Assessment::Unclear => {}
            Assessment::Unknown => {
                (self.down_since, self.changed_since, self.key) = (None, None, None);
                // The source that reported the network down is gone: an attempt is worthwhile.
                if self.reported == Some(false) {
                    let report = self.report(now, Network::Changed);
                    self.reported = None;
                    return Some(report);
                }
            }
            Assessment::Down => {
                if self.reported != Some(false) {
                    self.down_since.get_or_insert(now);
                }
            }
            Assessment::Up(key) => {
                let was_down = self.down_since.take().is_some();
                let changed = self.key.as_ref().is_some_and(|before| key.differs_from(before));
                self.key = Some(key);
                if self.reported != Some(true) {
                    return Some(self.report(now, Network::Up));
                }
                if was_down || changed {
                    self.changed_since.get_or_insert(now);
                }
            }
        }
        self.handle_timeout(now)
    }

    /// Checks the deadline. Returns what to report now.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Network> {
        self.poll_timeout().filter(|at| *at <= now)?;
        let report = if self.down_since.is_some() { Network::Down } else { Network::Changed };
        Some(self.report(now, report))
    }

    /// When `handle_timeout` must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        match (self.down_since, self.changed_since) {
            // Any change before that is irrelevant: there is no network to dial over.
            (Some(since), _) => Some(since + Self::DOWN),
            (None, Some(since)) => {
                let settled = since + Self::SETTLE;
                Some(self.reported_at.map_or(settled, |at| settled.max(at + Self::INTERVAL)))
            }
            (None, None) => None,
        }
    }

    /// Whether there is a network according to the last report; `None` before the first.
    pub fn is_up(&self) -> Option<bool> {
        self.reported
    }

    fn report(&mut self, now: Time, network: Network) -> Network {
        self.reported = Some(network != Network::Down);
        self.reported_at = Some(now);
        self.down_since = None;
        self.changed_since = None;
        network
    }
}

impl Observation {
    fn assess(self) -> Assessment {
        match self {
            Self::Unavailable => Assessment::Unknown,
            Self::Manager(manager) => manager.assess(),
            Self::Routes(routes) if routes.defaults.is_empty() => Assessment::Down,
            Self::Routes(routes) => Assessment::Up(NetworkKey::Routes(routes)),
        }
    }
}

impl Manager {
    /// The states of NetworkManager, as observed with 1.42:
    ///
    /// - 20 disconnected, 10 asleep (also before suspend): no network as far as it knows. It may not
    ///   manage the link that works, so the kernel may know better; the connection keeps dialing.
    /// - 30 disconnecting, 40 connecting: in transition. Between two networks it goes through 70, 40, 60
    ///   without 20.
    /// - 50 local: addresses, but no default route. The cloud may be on this local network.
    /// - 60 site: a default route, but its own check failed: no connectivity (1), a portal (2) or limited
    ///   connectivity (3). The check contacts a single host; the cloud is a different one.
    /// - 70 global. Without a configured check it follows 60 within milliseconds.
    /// - 0 unknown: it has just started.
    ///
    /// `PrimaryConnection` is set together with 60, in a separate signal; below that it is `/`. After a
    /// restart the state goes from 0 through 20 again although the links have kept their addresses:
    /// `Startup` is true during that time, and states below 50 are ignored.
    fn assess(self) -> Assessment {
        if self.primary != "/" && !self.primary.is_empty() {
            return Assessment::Up(NetworkKey::Primary(self.primary, self.connectivity));
        }
        match self.state {
            50.. => Assessment::Up(NetworkKey::Primary(String::new(), self.connectivity)),
            10 | 20 if !self.is_starting => Assessment::Down,
            _ => Assessment::Unclear,
        }
    }
}

impl NetworkKey {
    /// Keys from different sources cannot be compared and count as equal.
    fn differs_from(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Primary(..), Self::Primary(..)) | (Self::Routes(_), Self::Routes(_)) => {
                self != before
            }
            (Self::Primary(..), Self::Routes(_)) | (Self::Routes(_), Self::Primary(..)) => false,
        }
    }
}
