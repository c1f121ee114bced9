//! What `fedecksd` does around a [`Client`]: configuration, logs, signals, and the notices
//! to systemd.

use std::io;
use std::path::Path;
use std::time::Duration;

use fedecks_dbus::SystemBus;
use fedecks_device::{Client, ClientBuilder, StartError, Status};
use fedecks_device_core::{GrowingWait, State, Stored};
use fedecks_network_watch::watch_network_on;
use fedecks_protocol::DeviceId;
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::blocking::blocking;
use crate::config::{ConfigError, DeviceConfig};
use crate::health::DeviceHealth;
use crate::identity::{self, DeviceIdentity, Kept, Memory, NoIdentity, Roots, Unsaved};
use crate::provisioning::{self, Provisioner};
use crate::unreachable_action::{self, UnreachableAction};
use crate::{dbus_service, health_reporter};

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing says who this device is.
    #[error(transparent)]
    NoIdentity(#[from] NoIdentity),
    /// The data directory came up late and remembers another device id than the one of this run.
    #[error("the data directory is there now and says that this device is {0}: start again")]
    AnotherIdentity(DeviceId),
    /// The system refused something that every process may have.
    #[error("{what}: {error}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// The connection's loop ended by itself; the log says why.
    #[error("the connection's loop ended")]
    Ended,
}

impl DaemonError {
    /// The exit status that goes with it; 78 is `EX_CONFIG` of sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Start(StartError::Tls(_)) => ConfigError::EXIT_CODE,
            Self::Start(StartError::Timer(_))
            | Self::NoIdentity(_)
            | Self::AnotherIdentity(_)
            | Self::System { .. }
            | Self::Ended => 1,
        }
    }
}

/// Reads the configuration and the certificates that it names, and says in a line what it comes to.
/// Credentials are not looked at: they are gone once they were used.
pub fn check(config: Option<&Path>) -> Result<String, DaemonError> {
    let config = load(config)?;
    let identity = match config.device_id.clone() {
        Some(id) => DeviceIdentity { id, source: None },
        // Nothing is written: who checks may be another user than the service.
        None => {
            let memory = Memory::new(&config.data_dir);
            identity::peek(&Roots::system(), config.device_id_from, &memory)?
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

/// How long the start waits for a data directory on a disk that does not answer.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

fn identify(config: &DeviceConfig) -> Result<(DeviceIdentity, Option<Unsaved>), NoIdentity> {
    match config.device_id.clone() {
        Some(id) => Ok((DeviceIdentity { id, source: None }, None)),
        None => {
            let (memory, from) = (Memory::new(&config.data_dir), config.device_id_from);
            let (answer, answered) = std::sync::mpsc::channel();
            let remembers = memory.clone();
            std::thread::spawn(move || {
                // Nobody waits for it any more if it took too long.
                let _ = answer.send(identity::find(&Roots::system(), from, &remembers));
            });
            answered
                .recv_timeout(DISK_PATIENCE)
                .unwrap_or_else(|_| identity::find_without_memory(&Roots::system(), from, memory))
        }
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
    let mut result = Ok(());
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
        _ = &mut status => return Err(DaemonError::Ended),
        device = remember(unsaved) => result = Err(DaemonError::AnotherIdentity(device)),
    }
    notify(&[NotifyState::Stopping]);
    status.abort();
    client.shutdown().await;
    // The shutdown answered its login; what is left is at most the removal of credentials.
    let _ = tokio::time::timeout(Duration::from_secs(1), provisioning).await;
    result
}

/// Remembers who this device is as soon as the data directory is there. Returns what is remembered
/// already, if that is another device; otherwise never.
async fn remember(unsaved: Option<Unsaved>) -> DeviceId {
    let Some(mut unsaved) = unsaved else { return std::future::pending().await };
    let mut wait = GrowingWait::default();
    loop {
        tokio::time::sleep(wait.next_wait()).await;
        let saved;
        (unsaved, saved) = blocking(move || {
            let saved = unsaved.save();
            (unsaved, saved)
        })
        .await;
        match saved {
            Ok(Kept::Yes) => return std::future::pending().await,
            Ok(Kept::Another(device)) => return device,
            Err(error) => debug!(%error, "which device this is cannot be remembered yet"),
        }
    }
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

/// Keeps the line that `systemctl status` shows.
async fn tell_status(client: Client) {
    let mut status = client.watch_status();
    let mut told = String::new();
    loop {
        let text = describe(&status.borrow_and_update());
        if text != told {
            notify(&[NotifyState::Status(&text)]);
            told = text;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn describe(status: &Status) -> String {
    let state = describe_state(status);
    match (&status.store_error, status.stored) {
        (Some(error), _) => format!("{state}; the store fails: {error}"),
        (None, Stored::UnderWay) => format!("{state}; the store is being written"),
        // That it failed is told with the error.
        (None, Stored::Yes | Stored::Failed) => state,
    }
}

fn describe_state(status: &Status) -> String {
    match status.state {
        State::Unregistered => "unregistered: waiting for a login".to_owned(),
        State::Offline { .. } => format!("offline, {} failures", status.failures),
        State::Waiting { .. } => format!("waiting to connect, {} failures", status.failures),
        State::Dialing { attempt } => format!("connecting, attempt {attempt}"),
        State::Connected => "connected".to_owned(),
        State::Closed => "closed".to_owned(),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd was not notified");
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
