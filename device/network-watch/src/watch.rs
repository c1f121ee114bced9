//! Chooses who is asked about the network, and brings what they show to the client.

use std::future::pending;

use fedecks_dbus::SystemBus;
use fedecks_device::Client;
use fedecks_device::clock::{Alarm, BootClock};
use fedecks_device_core::{Network, NetworkDebouncer, Observation};
use tokio::sync::watch;
use tracing::{debug, error, info};
use zbus::Connection;

use crate::source::{NetworkSource, NetworkWatch, Newest};
use crate::{netlink, network_manager};

/// Watches the network and tells the client, until that is shut down: an application spawns this beside
/// its client. It has a handle to the client and, unless it watches by the kernel alone, a connection to
/// the system bus of its own.
pub async fn watch_network(client: Client, watch: NetworkWatch) {
    let bus = SystemBus::start();
    watch_network_on(client, watch, bus.subscribe(), watch::Sender::new(None)).await;
}

/// Like [`watch_network`], on an existing bus connection; `watched_by` receives the source in use.
pub async fn watch_network_on(
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
    let mut judge = NetworkDebouncer::new();
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
                judge.handle_observation(BootClock::now(), sight)
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
        let sight = (NetworkSource::NetworkManager, Observation::Manager(manager));
        newest.send_replace(Some(sight));
    };
    match watch {
        NetworkWatch::None => pending().await,
        NetworkWatch::Netlink => netlink::watch(newest).await,
        NetworkWatch::NetworkManager => {
            let tell = |manager: Option<_>| {
                let sight = manager.map_or(Observation::Unavailable, Observation::Manager);
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
