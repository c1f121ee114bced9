//! What the news of a network watch mean: whether there is a network, and whether it is another one
//! than before. Nothing here keeps the connection from trying; it only says when it is worth it.

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Time;

/// What a network watch reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// There is a network again.
    Up,
    /// There is a network, but another one than before.
    Changed,
    /// There seems to be no network.
    Down,
}

/// What a source of news shows, raw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// NetworkManager's own account.
    Manager(Manager),
    /// The kernel's.
    Routes(Routes),
    /// Nothing any more: the source is gone.
    Nothing,
}

/// The properties of `org.freedesktop.NetworkManager` that matter, as they are on D-Bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// `State`, an `NMState`: 0, 10, 20, to 70.
    pub state: u32,
    /// `Connectivity`, an `NMConnectivityState`: 0 to 4.
    pub connectivity: u32,
    /// `PrimaryConnection`, a path; `/` without one.
    pub primary: String,
    /// `Startup`: it has not yet tried everything that it has to activate.
    pub is_starting: bool,
}

/// The default routes over links that carry, and the addresses of those links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// The default routes.
    pub defaults: BTreeSet<DefaultRoute>,
    /// Index of a link, and an address that it has.
    pub addresses: BTreeSet<(u32, IpAddr)>,
}

/// A way to everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefaultRoute {
    /// Index of the link.
    pub link: u32,
    /// The next hop's address; none where the link alone says it.
    pub gateway: Option<IpAddr>,
    /// Less is preferred.
    pub metric: u32,
}

/// Makes few and timely reports of many raw sights. Time is an argument.
///
/// - That there is a network is reported at once.
/// - That there is none is reported once it has been so for [`NetworkDebouncer::DOWN`]; until then it
///   counts as a change at most.
/// - A change is reported [`NetworkDebouncer::SETTLE`] after its first sign, however many follow, and
///   not within [`NetworkDebouncer::INTERVAL`] of the report before.
#[derive(Debug, Default)]
pub struct NetworkDebouncer {
    /// What was reported last of whether there is a network; none at the beginning.
    told: Option<bool>,
    told_at: Option<Time>,
    /// The way that was seen last.
    way: Option<Way>,
    down_since: Option<Time>,
    changed_since: Option<Time>,
}

/// What tells one network from another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Primary(String, u32),
    Routes(Routes),
}

enum View {
    Up(Way),
    Down,
    /// In between; what was so before goes on to count.
    Unclear,
    /// What was so before counts no more.
    Unknown,
}

impl NetworkDebouncer {
    /// How long there has to be no network before that is reported.
    pub const DOWN: Duration = Duration::from_millis(1_000);
    /// How long a change is given to become complete.
    pub const SETTLE: Duration = Duration::from_millis(50);
    /// The least time between a report and a change after it.
    pub const INTERVAL: Duration = Duration::from_millis(1_000);

    /// A judge that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A source shows this now. What to report at once, if anything.
    pub fn handle_observation(&mut self, now: Time, sight: Observation) -> Option<Network> {
        match sight.view() {
            View::Unclear => {}
            View::Unknown => {
                (self.down_since, self.changed_since, self.way) = (None, None, None);
                // Nobody says any more that there is no network: it is worth a try.
                if self.told == Some(false) {
                    let report = self.tell(now, Network::Changed);
                    self.told = None;
                    return Some(report);
                }
            }
            View::Down => {
                if self.told != Some(false) {
                    self.down_since.get_or_insert(now);
                }
            }
            View::Up(way) => {
                let was_gone = self.down_since.take().is_some();
                let before = self.way.replace(way);
                if self.told != Some(true) {
                    return Some(self.tell(now, Network::Up));
                }
                let is_other = match (&before, &self.way) {
                    (Some(before), Some(way)) => way.is_other_than(before),
                    (None, _) | (_, None) => false,
                };
                if was_gone || is_other {
                    self.changed_since.get_or_insert(now);
                }
            }
        }
        self.handle_timeout(now)
    }

    /// A deadline may have come. What to report, if anything.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Network> {
        self.poll_timeout().filter(|at| *at <= now)?;
        let report = if self.down_since.is_some() { Network::Down } else { Network::Changed };
        Some(self.tell(now, report))
    }

    /// When `handle_timeout` is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        match (self.down_since, self.changed_since) {
            // Whatever changed before: there is nothing to dial over now.
            (Some(since), _) => Some(since + Self::DOWN),
            (None, Some(since)) => {
                let settled = since + Self::SETTLE;
                Some(self.told_at.map_or(settled, |at| settled.max(at + Self::INTERVAL)))
            }
            (None, None) => None,
        }
    }

    /// Whether there is a network, as reported; none before the first report.
    pub fn is_up(&self) -> Option<bool> {
        self.told
    }

    fn tell(&mut self, now: Time, network: Network) -> Network {
        self.told = Some(network != Network::Down);
        self.told_at = Some(now);
        self.down_since = None;
        self.changed_since = None;
        network
    }
}

impl Observation {
    fn view(self) -> View {
        match self {
            Self::Nothing => View::Unknown,
            Self::Manager(manager) => manager.view(),
            Self::Routes(routes) if routes.defaults.is_empty() => View::Down,
            Self::Routes(routes) => View::Up(Way::Routes(routes)),
        }
    }
}

impl Manager {
    /// The states of NetworkManager, as met with 1.42:
    ///
    /// - 20 disconnected, 10 asleep (before suspend as well): no network by its account. It may not
    ///   manage the link that works, so the kernel may know better; the connection dials on.
    /// - 30 disconnecting, 40 connecting: on the way from one to another. Between two networks it
    ///   goes 70, 40, 60 without passing 20.
    /// - 50 local: addresses, but no default route. The cloud may be on this very net.
    /// - 60 site: a default route, but its own check was not answered: no connectivity (1), a portal (2)
    ///   or less than all (3). The check asks one host in the world; the cloud is another one.
    /// - 70 global. Without a check configured it is reached by way of 60 within milliseconds.
    /// - 0 unknown: it has just come up.
    ///
    /// `PrimaryConnection` is set together with 60, in a signal of its own; `/` below. After
    /// a restart everything goes from 0 over 20 again although the links have kept their addresses:
    /// `Startup` is true meanwhile, and nothing below counts then.
    fn view(self) -> View {
        if self.primary != "/" && !self.primary.is_empty() {
            return View::Up(Way::Primary(self.primary, self.connectivity));
        }
        match self.state {
            50.. => View::Up(Way::Primary(String::new(), self.connectivity)),
            10 | 20 if !self.is_starting => View::Down,
            _ => View::Unclear,
        }
    }
}

impl Way {
    /// Ways that different sources tell of cannot be compared: nothing has changed then.
    fn is_other_than(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Primary(..), Self::Primary(..)) | (Self::Routes(_), Self::Routes(_)) => {
                self != before
            }
            (Self::Primary(..), Self::Routes(_)) | (Self::Routes(_), Self::Primary(..)) => false,
        }
    }
}
