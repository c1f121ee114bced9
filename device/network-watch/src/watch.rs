//! Chooses the source of network observations, and reports the debounced network state to the client.

use std::future::pending;

use fedecks_dbus::SystemBus;
use fedecks_device::Client;
use fedecks_device::clock::{Alarm, BootClock};
use fedecks_device_core::{Network, NetworkDebouncer, Observation};
use tokio::sync::watch;
use tracing::{debug, error, info};
use zbus::Connection;

use crate::source::{Latest, NetworkSource, NetworkWatch};
use crate::{netlink, network_manager};

/// Watches the network and reports to the client until that is shut down; an application spawns this as
/// a task. It keeps a handle to the client and opens its own connection to the system bus.
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
        Err(error) => return error!(%error, "cannot create a timer, the network is not watched"),
    };
    let (latest, mut observations) = watch::channel(None);
    let mut sources = Box::pin(observe(watch, bus, &latest));
    let mut debouncer = NetworkDebouncer::new();
    let mut last_source = None;
    loop {
        if let Err(error) = alarm.set(debouncer.poll_timeout()) {
            return error!(%error, "cannot set the timer, the network is no longer watched");
        }
        let report = tokio::select! {
            () = client.ended() => return,
            () = &mut sources => None,
            Ok(()) = observations.changed() => {
                let Some((source, observation)) = observations.borrow_and_update().clone() else {
                    continue;
                };
                if last_source.replace(source) != Some(source) {
                    info!(by = source.name(), "watching the network");
                    watched_by.send_replace(Some(source));
                }
                debug!(?observation, "network observation");
                debouncer.handle_observation(BootClock::now(), observation)
            }
            fired = alarm.fired() => match fired {
                Ok(()) => debouncer.handle_timeout(BootClock::now()),
                Err(error) => {
                    return error!(%error, "the timer failed, the network is no longer watched");
                }
            },
        };
        let Some(report) = report else { continue };
        match report {
            Network::Up => info!("there is a network"),
            Network::Changed => info!("the network has changed"),
            Network::Down => info!("there is no network"),
        }
        if client.network(report).await.is_err() {
            return;
        }
    }
}

/// Keeps `latest` up to date. Never ends.
async fn observe(watch: NetworkWatch, bus: watch::Receiver<Option<Connection>>, latest: &Latest) {
    let publish =
        |observation| latest.send_replace(Some((NetworkSource::NetworkManager, observation)));
    match watch {
        NetworkWatch::None => pending().await,
        NetworkWatch::Netlink => netlink::watch(latest).await,
        NetworkWatch::NetworkManager => {
            let report = |manager: Option<_>| {
                publish(manager.map_or(Observation::Unavailable, Observation::Manager));
            };
            network_manager::watch(bus, report).await;
        }
        NetworkWatch::Auto => {
            // False initially: the bus may appear late or never.
            let (is_running, mut running) = watch::channel(false);
            let report = |manager: Option<_>| {
                let is = manager.is_some();
                is_running.send_if_modified(|was| std::mem::replace(was, is) != is);
                if let Some(manager) = manager {
                    publish(Observation::Manager(manager));
                }
            };
            let fallback = async {
                loop {
                    // The sender lives as long as this.
                    let _ = running.wait_for(|is| !is).await;
                    tokio::select! {
                        // In this order: an observation of the kernel must not overwrite the one that
                        // NetworkManager has just reported.
                        biased;
                        _ = running.wait_for(|is| *is) => {}
                        () = netlink::watch(latest) => {}
                    }
                }
            };
            tokio::join!(network_manager::watch(bus, report), fallback);
        }
    }
}
