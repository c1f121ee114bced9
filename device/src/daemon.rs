//! What `fedecksd` does around a [`Client`]: configuration, logs, the one-time credentials file,
//! signals, and the notices to systemd.

use std::io;
use std::path::Path;
use std::time::Duration;

use fedecks_device_core::{LoggedIn, State};
use fedecks_protocol::Term;
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, error, info, warn};

use crate::client::{Client, ClientBuilder, StartError};
use crate::config::{ConfigError, DeviceConfig};
use crate::status::Status;
use crate::system_bus::SystemBus;
use crate::{dbus, report_health, unreachable};

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client did not start.
    #[error(transparent)]
    Start(#[from] StartError),
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
            Self::Start(StartError::Timer(_)) | Self::System { .. } | Self::Ended => 1,
        }
    }
}

/// Reads the configuration and the certificates that it names, and says in a line what it comes to.
/// The credentials file is not looked at: it is gone once it was used.
pub fn check(config: Option<&Path>) -> Result<String, DaemonError> {
    let config = load(config)?;
    builder(&config).check()?;
    Ok(format!("the configuration is good: device {} at {}", config.device_id, config.url))
}

/// Runs until SIGTERM or SIGINT. Starting without a network is normal.
pub fn run(config: Option<&Path>) -> Result<(), DaemonError> {
    let config = load(config)?;
    crate::logging::start(config.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DaemonError::System { what: "starting the event loop", error })?;
    run_to_end(runtime, serve(config))
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

fn builder(config: &DeviceConfig) -> ClientBuilder {
    Client::builder(config.url.clone(), config.device_id.clone())
        .data_dir(&config.data_dir)
        .tls(config.tls.clone())
        .backoff(config.backoff_base, config.backoff_cap)
}

async fn serve(config: DeviceConfig) -> Result<(), DaemonError> {
    let hear =
        |kind| signal(kind).map_err(|error| DaemonError::System { what: "hearing signals", error });
    let mut terminate = hear(SignalKind::terminate())?;
    let mut interrupt = hear(SignalKind::interrupt())?;

    let mut builder = builder(&config);
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        // Half of what systemd allows, as sd_watchdog_enabled(3) advises.
        builder = builder.watchdog(timeout / 2, || notify(&[NotifyState::Watchdog]));
    }
    let client = builder.start()?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        device = %config.device_id,
        url = %config.url,
        data_dir = %config.data_dir.display(),
        "fedecksd started"
    );
    notify(&[NotifyState::Ready]);

    let bus = SystemBus::start();
    tokio::spawn(dbus::serve(client.clone(), bus.subscribe()));
    let mut status = tokio::spawn(tell_status(client.clone()));
    look_after(&client, &config);
    let provisioning = tokio::spawn(provision(client.clone(), config));
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping"),
        _ = interrupt.recv() => info!("SIGINT: stopping"),
        _ = &mut status => return Err(DaemonError::Ended),
    }
    notify(&[NotifyState::Stopping]);
    status.abort();
    client.shutdown().await;
    // The shutdown answered its login; what is left is at most the removal of the file.
    let _ = tokio::time::timeout(Duration::from_secs(1), provisioning).await;
    Ok(())
}

/// Logs in with the one-time credentials file, if it is there, and removes it once the token is on
/// disk.
async fn provision(client: Client, config: DeviceConfig) {
    let Some(path) = config.credentials_file.as_deref() else { return };
    let file = path.display();
    let credentials = match config.read_credentials() {
        Ok(Some(credentials)) => credentials,
        Ok(None) => return,
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return debug!(%file, "no credentials file");
        }
        Err(error) => return error!(%error, "the credentials file was not used"),
    };
    info!(%file, "logging in with the credentials file");
    match client.login(credentials).await {
        Ok(LoggedIn { persisted: true }) => match std::fs::remove_file(path) {
            Ok(()) => info!(%file, "the credentials file was used and removed"),
            Err(error) => error!(%file, %error, "the credentials file was used but is still there"),
        },
        Ok(LoggedIn { persisted: false }) => {
            warn!(%file, "the credentials file stays: the token is not on disk");
        }
        Err(error) => error!(%file, %error, "the credentials file stays"),
    }
}

/// Starts what the configuration asks for while the client runs.
fn look_after(client: &Client, config: &DeviceConfig) {
    if let Some(interval) = config.report_interval {
        let examined = client.clone();
        let examine = move || Term::from_serialize(&examined.health());
        tokio::spawn(report_health::report(client.clone(), interval, examine));
    }
    if let Some(action) = config.unreachable_action.clone() {
        let (client, data_dir) = (client.clone(), config.data_dir.clone());
        tokio::spawn(async move {
            if let Err(error) = unreachable::watch(client, action, data_dir).await {
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
