//! Puts the service together: configuration, identity, client, and what runs beside it until a signal.

use std::future::pending;
use std::path::Path;
use std::time::Duration;

use fedecks_dbus::SystemBus;
use fedecks_device::{Client, ClientBuilder};
use fedecks_network_watch::watch_network_on;
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

use crate::config::{ConfigError, DeviceConfig};
use crate::error::DaemonError;
use crate::health::DeviceHealth;
use crate::identity::{self, DeviceIdentity, Memory, NoIdentity, Unsaved};
use crate::provisioning::{self, Provisioner};
use crate::systemd::{notify, tell_status};
use crate::unreachable_action::{self, UnreachableAction};
use crate::{dbus_service, health_reporter};

/// Reads the configuration and the certificates that it names, and says in a line what it comes to.
/// Credentials are not looked at: they are gone once they were used.
pub fn check(config: Option<&Path>) -> Result<String, DaemonError> {
    let config = load(config)?;
    let identity = match config.device_id.clone() {
        Some(id) => DeviceIdentity { id, source: None },
        // Nothing is written: who checks may be another user than the service.
        None => {
            let memory = Memory::new(&config.data_dir);
            identity::peek(config.device_id_from, &memory)?
        }
    };
    builder(&config, &identity).check()?;
    let problem = config.unreachable_action.as_ref().and_then(UnreachableAction::problem);
    let but = problem.map_or_else(String::new, |problem| format!(", but: {problem}"));
    Ok(format!("the configuration is good: device {} at {}{but}", identity.id, config.url))
}

/// Runs until SIGTERM or SIGINT. Starting without a network is normal.
pub fn run(config: Option<&Path>) -> Result<(), DaemonError> {
    let config = load(config)?;
    crate::logging::start(config.log);
    let (identity, unsaved) = identify(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DaemonError::System { what: "starting the event loop", error })?;
    run_to_end(runtime, serve(config, identity, unsaved))
}

/// Dropping the runtime would wait for whatever blocks: a resolver without a network does so for
/// half a minute.
fn run_to_end<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn load(file: Option<&Path>) -> Result<DeviceConfig, ConfigError> {
    DeviceConfig::load(file, |name| std::env::var_os(name))
}

fn identify(config: &DeviceConfig) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    match config.device_id.clone() {
        Some(id) => Ok((DeviceIdentity { id, source: None }, None)),
        None => identity::find_in_time(config.device_id_from, Memory::new(&config.data_dir)),
    }
}

fn builder(config: &DeviceConfig, identity: &DeviceIdentity) -> ClientBuilder {
    Client::builder(config.url.clone(), identity.id.clone())
        .data_dir(&config.data_dir)
        .tls(config.tls.clone())
        .backoff(config.backoff_base, config.backoff_cap)
}

async fn serve(
    config: DeviceConfig,
    identity: DeviceIdentity,
    unsaved: Option<Unsaved>,
) -> Result<(), DaemonError> {
    let hear =
        |kind| signal(kind).map_err(|error| DaemonError::System { what: "hearing signals", error });
    let mut terminate = hear(SignalKind::terminate())?;
    let mut interrupt = hear(SignalKind::interrupt())?;

    let provisioner = Provisioner::new(&config, identity.id.clone());
    let mut builder = builder(&config, &identity);
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        // Half of what systemd allows, as sd_watchdog_enabled(3) advises.
        builder = builder.watchdog(timeout / 2, || notify(&[NotifyState::Watchdog]));
    }
    let client = builder.start()?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        device = %identity.id,
        device_id_from = identity.source_name(),
        url = %config.url,
        data_dir = %config.data_dir.display(),
        "fedecksd started"
    );
    notify(&[NotifyState::Ready]);

    let bus = SystemBus::start();
    let (watched_by, network_source) = watch::channel(None);
    let health = DeviceHealth {
        client: client.clone(),
        id_source: identity.source_name(),
        network_source,
        provisioning: provisioner.watch(),
    };
    tokio::spawn(dbus_service::serve(client.clone(), health.clone(), bus.subscribe()));
    tokio::spawn(watch_network_on(client.clone(), config.network, bus.subscribe(), watched_by));
    let mut status = tokio::spawn(tell_status(client.clone()));
    look_after(&client, &config, health);
    let provisioning = tokio::spawn(provisioning::run(client.clone(), provisioner));
    let another_identity = async {
        match unsaved {
            Some(unsaved) => unsaved.remember().await,
            None => pending().await,
        }
    };
    let mut result = Ok(());
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
        _ = &mut status => return Err(DaemonError::Ended),
        device = another_identity => result = Err(DaemonError::AnotherIdentity(device)),
    }
    notify(&[NotifyState::Stopping]);
    status.abort();
    client.shutdown().await;
    // The shutdown answered its login; what is left is at most the removal of credentials.
    let _ = tokio::time::timeout(Duration::from_secs(1), provisioning).await;
    result
}

/// Starts what the configuration asks for while the client runs.
fn look_after(client: &Client, config: &DeviceConfig, health: DeviceHealth) {
    if let Some(interval) = config.report_interval {
        tokio::spawn(health_reporter::report(client.clone(), interval, health));
    }
    if let Some(action) = config.unreachable_action.clone() {
        let (client, data_dir) = (client.clone(), config.data_dir.clone());
        tokio::spawn(async move {
            if let Err(error) = unreachable_action::watch(client, action, data_dir).await {
                error!(%error, "the system gives no timer: unreachable_action is never run");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_blocks_does_not_keep_the_program_from_its_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // As a resolver that nobody answers: it ends when this test lets it.
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel();
        std::thread::spawn(move || {
            run_to_end(runtime, async move {
                tokio::task::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    let _ = released.recv();
                });
                has_begun.recv().unwrap();
            });
            ended.send(()).unwrap();
        });
        has_ended.recv_timeout(Duration::from_secs(30)).unwrap();
        drop(release);
    }
}
