//! Tells the client what becomes of the network: by NetworkManager where it runs, by the kernel's
//! routing tables where it does not.

mod netlink;
mod network_manager;

use std::future::pending;
use std::str::FromStr;

use fedecks_device_core::{Network, NetworkJudge, Sight};
use tokio::sync::watch;
use tracing::{debug, error, info};
use zbus::Connection;

use crate::client::Client;
use crate::clock::{Alarm, BootClock};
use crate::system_bus::SystemBus;

/// By what the network is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkWatch {
    /// By NetworkManager while it is on the system bus, by the kernel otherwise.
    #[default]
    Auto,
    /// By NetworkManager; while it is not there, nothing is known.
    NetworkManager,
    /// By the kernel, over rtnetlink.
    Netlink,
    /// By nothing.
    None,
}

/// A text that names no [`NetworkWatch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {0:?}, expected \"auto\", \"network-manager\", \"netlink\" or \"none\"")]
pub struct InvalidNetworkWatch(String);

impl FromStr for NetworkWatch {
    type Err = InvalidNetworkWatch;

    fn from_str(text: &str) -> Result<Self, InvalidNetworkWatch> {
        match text {
            "auto" => Ok(Self::Auto),
            "network-manager" => Ok(Self::NetworkManager),
            "netlink" => Ok(Self::Netlink),
            "none" => Ok(Self::None),
            _ => Err(InvalidNetworkWatch(text.to_owned())),
        }
    }
}

/// Where a sight comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkSource {
    NetworkManager,
    Netlink,
}

impl NetworkSource {
    /// As in the configuration and the report of the health.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NetworkManager => "network-manager",
            Self::Netlink => "netlink",
        }
    }
}

/// The newest sight. One that nobody took before the next one came is forgotten: the way from one to
/// another does not matter, only where it leads.
type Newest = watch::Sender<Option<(NetworkSource, Sight)>>;

/// Watches the network and tells the client, until that is shut down: an application spawns this beside
/// its client. It has a handle to the client and, unless it watches by the kernel alone, a connection to
/// the system bus of its own.
pub async fn watch_network(client: Client, watch: NetworkWatch) {
    let bus = SystemBus::start();
    watch_network_on(client, watch, bus.subscribe(), watch::Sender::new(None)).await;
}

/// The same over `bus`, the system bus as it comes and goes; `watched_by` shows by what.
pub(crate) async fn watch_network_on(
    client: Client,
    watch: NetworkWatch,
    bus: watch::Receiver<Option<Connection>>,
    watched_by: watch::Sender<Option<NetworkSource>>,
) {
    if watch == NetworkWatch::None {
        return;
    }
    let mut alarm = match Alarm::new() {
        Ok(alarm) => alarm,
        Err(error) => return error!(%error, "no timer: the network is not watched"),
    };
    let (newest, mut sights) = watch::channel(None);
    let mut sources = Box::pin(look(watch, bus, &newest));
    let mut judge = NetworkJudge::new();
    let mut known = None;
    loop {
        if let Err(error) = alarm.set(judge.poll_timeout()) {
            return error!(%error, "the timer fails: the network is not watched any more");
        }
        let report = tokio::select! {
            () = client.ended() => return,
            () = &mut sources => None,
            Ok(()) = sights.changed() => {
                let Some((source, sight)) = sights.borrow_and_update().clone() else { continue };
                if known.replace(source) != Some(source) {
                    info!(by = source.name(), "watching the network");
                    watched_by.send_replace(Some(source));
                }
                debug!(?sight, "the network looks otherwise");
                judge.handle_sight(BootClock::now(), sight)
            }
            fired = alarm.fired() => match fired {
                Ok(()) => judge.handle_timeout(BootClock::now()),
                Err(error) => {
                    return error!(%error, "the timer fails: the network is not watched any more");
                }
            },
        };
        let Some(report) = report else { continue };
        match report {
            Network::Up => info!("there is a network"),
            Network::Changed => info!("the network is another one"),
            Network::Down => info!("there is no network"),
        }
        if client.network(report).await.is_err() {
            return;
        }
    }
}

/// Never ends.
async fn look(watch: NetworkWatch, bus: watch::Receiver<Option<Connection>>, newest: &Newest) {
    let by_manager = |manager| {
        let sight = (NetworkSource::NetworkManager, Sight::Manager(manager));
        newest.send_replace(Some(sight));
    };
    match watch {
        NetworkWatch::None => pending().await,
        NetworkWatch::Netlink => netlink::watch(newest).await,
        NetworkWatch::NetworkManager => {
            let tell = |manager: Option<_>| {
                let sight = manager.map_or(Sight::Nothing, Sight::Manager);
                newest.send_replace(Some((NetworkSource::NetworkManager, sight)));
            };
            network_manager::watch(bus, tell).await;
        }
        NetworkWatch::Auto => {
            // Until it is known better: a bus may come late or never.
            let (is_there, mut there) = watch::channel(false);
            let tell = |manager: Option<_>| {
                let is = manager.is_some();
                is_there.send_if_modified(|was| std::mem::replace(was, is) != is);
                if let Some(manager) = manager {
                    by_manager(manager);
                }
            };
            let otherwise = async {
                loop {
                    // The sender lives as long as this.
                    let _ = there.wait_for(|is| !is).await;
                    tokio::select! {
                        // In this order: the kernel's sight must not take the place of the one that
                        // NetworkManager has just given.
                        biased;
                        _ = there.wait_for(|is| *is) => {}
                        () = netlink::watch(newest) => {}
                    }
                }
            };
            tokio::join!(network_manager::watch(bus, tell), otherwise);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watch_has_a_name_and_others_are_told_which() {
        for (name, watch) in [
            ("auto", NetworkWatch::Auto),
            ("network-manager", NetworkWatch::NetworkManager),
            ("netlink", NetworkWatch::Netlink),
            ("none", NetworkWatch::None),
        ] {
            assert_eq!(name.parse(), Ok(watch));
        }
        assert_eq!(
            "NetworkManager".parse::<NetworkWatch>().unwrap_err().to_string(),
            "is \"NetworkManager\", expected \"auto\", \"network-manager\", \"netlink\" or \"none\""
        );
    }
}
