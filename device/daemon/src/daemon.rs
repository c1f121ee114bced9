//! Assembles and runs the service: configuration, identity, client, and the tasks around it, until a signal.

use std::future::pending;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fedecks_dbus::SystemBus;
use fedecks_device::storage::{DataDir, StoreError};
use fedecks_device::{Client, ClientBuilder};
use fedecks_network_watch::watch_network_on;
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{ConfigError, DeviceConfig};
use crate::dbus_service::MemoryLimits;
use crate::error::DaemonError;
use crate::health::DeviceHealth;
use crate::identity::{self, DeviceIdentity, IdentityFile, NoIdentity, Unsaved};
use crate::provisioning::{self, Provisioner};
use crate::systemd::{notify, notify_surely, report_status, runtime_directory};
use crate::unreachable_action::WatchedCloud;
use crate::{dbus_service, health_reporter, volatile_data};

/// Runs until SIGTERM or SIGINT. Starting without a network is normal.
pub fn run(config: Option<&Path>) -> Result<(), DaemonError> {
    crate::allocator::return_what_is_big();
    let config = load(config)?;
    crate::logging::start(config.log)
        .map_err(|error| DaemonError::System { what: "starting the log", error })?;
    let data_dir = DataDir::new(&config.data_dir);
    lock_in_time(&data_dir)?;
    let (identity, unsaved) = identify(&config, &data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DaemonError::System { what: "starting the event loop", error })?;
    run_to_end(runtime, serve(config, data_dir, identity, unsaved))
}

/// Does not wait for blocking tasks, as dropping the runtime would: a resolver without a network blocks for half
/// a minute.
fn run_to_end<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

pub(crate) fn load(file: Option<&Path>) -> Result<DeviceConfig, ConfigError> {
    DeviceConfig::load(file, std::env::vars_os())
}

/// How long the start waits for another process that uses the data directory, such as the previous service, which may
/// still be ending.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer it waits for a disk that does not respond.
const DISK_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes the lock of the data directory. Fails only if another process has it: a directory without a lock is better
/// than a device that cannot be reached.
fn lock_in_time(data_dir: &DataDir) -> Result<(), DaemonError> {
    let (answer, answered) = mpsc::channel();
    let on_disk = data_dir.clone();
    thread::spawn(move || {
        // The receiver is gone if this took too long.
        let _ = answer.send(on_disk.lock_within(LOCK_TIMEOUT));
    });
    let problem = match answered.recv_timeout(LOCK_TIMEOUT + DISK_TIMEOUT) {
        Ok(Err(error @ StoreError::InUse { .. })) => return Err(DaemonError::InUse(error)),
        Ok(Ok(())) => return Ok(()),
        Ok(Err(StoreError::NoDirectory { .. })) => {
            // If it cannot, reading the token fails, and says so.
            if data_dir.can_be_created() {
                let directory = data_dir.path().display();
                info!(%directory, "the data directory does not exist yet, the first login creates it");
            }
            return Ok(());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("{} does not respond", data_dir.path().display()),
    };
    warn!(problem, "another process could use the data directory as well");
    Ok(())
}

fn identify(
    config: &DeviceConfig,
    data_dir: &DataDir,
) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    match config.device_id.clone() {
        Some(id) => Ok((DeviceIdentity { id, source: None }, None)),
        None => identity::find_in_time(config.device_id_from, IdentityFile::new(data_dir)),
    }
}

pub(crate) fn builder(config: &DeviceConfig, identity: &DeviceIdentity) -> ClientBuilder {
    Client::builder(config.url.clone(), identity.id.clone())
        .data_dir(&config.data_dir)
        .tls(config.tls.clone())
        .backoff(config.backoff_base, config.backoff_cap)
        .max_decoded(config.max_decoded)
        .max_waiting(config.max_waiting)
        .keep_bytes(config.keep_bytes)
        .queue_limits(config.queue_limits.0, config.queue_limits.1)
        .wait_for_consumer(true)
}

async fn serve(
    config: DeviceConfig,
    data_dir: DataDir,
    identity: DeviceIdentity,
    unsaved: Option<Unsaved>,
) -> Result<(), DaemonError> {
    let listen = |kind| {
        signal(kind).map_err(|error| DaemonError::System { what: "handling signals", error })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;

    let provisioner = Provisioner::new(&config, &data_dir, identity.id.clone());
    // A kept message from the cloud is acknowledged by a program, never because it was signalled.
    let mut builder = builder(&config, &identity).data_dir(&data_dir).wait_for_consumer(true);
    if let Some(directory) = runtime_directory(std::env::var_os("RUNTIME_DIRECTORY")) {
        builder = builder.runtime_dir(directory);
    }
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        // Half of the timeout, as sd_watchdog_enabled(3) recommends.
        builder = builder.watchdog(timeout / 2, || notify(&[NotifyState::Watchdog]));
    }
    let (client, _) = builder.start().await.map_err(|error| config.explain(error))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        device = %identity.id,
        device_id_from = identity.source_name(),
        url = %config.url,
        data_dir = %config.data_dir.display(),
        "fedecksd started"
    );
    for warning in &config.warnings {
        warn!("configuration: {warning}");
    }
    tokio::spawn(notify_surely(&[NotifyState::Ready]));

    let bus = SystemBus::start();
    let (network_source_sender, network_source) = watch::channel(None);
    let (volatile_sender, volatile) = watch::channel(None);
    tokio::spawn(volatile_data::watch(config.data_dir.clone(), volatile_sender));
    let health = DeviceHealth {
        client: client.clone(),
        id_source: identity.source_name(),
        network_source,
        provisioning: provisioner.watch(),
        configuration: config.warnings.clone().into(),
        volatile_data: volatile,
    };
    let limits = MemoryLimits { max_decoded: config.max_decoded, max_waiting: config.max_waiting };
    tokio::spawn(dbus_service::serve(client.clone(), health.clone(), limits, bus.subscribe()));
    tokio::spawn(watch_network_on(
        client.clone(),
        config.network,
        bus.subscribe(),
        network_source_sender,
    ));
    let mut status = tokio::spawn(report_status(client.clone(), config.warnings.len()));
    if let Some(interval) = config.report_interval {
        tokio::spawn(health_reporter::run(client.clone(), interval, health));
    }
    let action = config.unreachable_action.clone();
    let action = action.map(|it| WatchedCloud::start(client.clone(), it, &data_dir));
    let provisioning = tokio::spawn(provisioning::run(client.clone(), provisioner));
    let another_identity = async {
        match unsaved {
            Some(unsaved) => unsaved.save_when_possible().await,
            None => pending().await,
        }
    };
    let mut result = Ok(());
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
        _ = &mut status => result = Err(DaemonError::Stopped),
        device = another_identity => result = Err(DaemonError::AnotherIdentity(device)),
    }
    notify(&[NotifyState::Stopping]);
    status.abort();
    let end_action = async {
        if let Some(action) = action {
            action.end().await;
        }
    };
    tokio::join!(client.shutdown(), end_action);
    // The shutdown has cancelled its login; at most it still removes credentials.
    let _ = tokio::time::timeout(Duration::from_secs(1), provisioning).await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocking_task_does_not_delay_the_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Like a resolver without a network; it ends with this test.
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
