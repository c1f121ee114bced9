//! The program's server: started, run until a signal stops it, and reported to systemd.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;

use crate::app::App;
use crate::config::{Config, TlsChoice};
use crate::error::ServerError;
use crate::opened::Opened;
use crate::own_node::OwnNode;
use crate::signals::{self, Shutdown};
use crate::{certificates, systemd};

/// How long tasks may take to end after an orderly stop, in which a store in a file writes its notes.
const LAST_TASKS: Duration = Duration::from_secs(6);

/// How long a database may take to end the lease when a second signal stops the server.
const IN_HURRY: Duration = Duration::from_secs(1);

/// Serves until a signal stops it.
pub(crate) fn run(config: Config, ready_file: Option<&Path>) -> Result<(), ServerError> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServerError::io("start the runtime"))?;
    // A database has its notes already when the server has stopped.
    let last_tasks = config.store.file().map_or(Duration::ZERO, |_| LAST_TASKS);
    // For as long as anything of this server runs.
    let mut node = None;
    let served = runtime.block_on(serve(config, ready_file, &mut node));
    // Not as long as the system resolves a name. A start may be waiting for another server, which is left at once.
    let stopped_in_order = matches!(served, Ok(true));
    runtime.shutdown_timeout(if stopped_in_order { last_tasks } else { Duration::ZERO });
    served.map(drop)
}

/// Returns false if a signal stopped it before it served.
async fn serve(
    config: Config,
    ready_file: Option<&Path>,
    node: &mut Option<Arc<OwnNode>>,
) -> Result<bool, ServerError> {
    let mut shutdown = Shutdown::listen()?;
    let hangup = signals::hangup()?;
    let opened = tokio::select! {
        opened = Opened::open(config) => opened?,
        signal = shutdown.requested() => return Ok(stopped_before(signal)),
    };
    node.clone_from(&opened.node);
    let closing = opened.store.closing.clone();
    let started = tokio::select! {
        app = App::start_on(opened, systemd::notify_standby) => app.map(Some),
        signal = shutdown.requested() => {
            stopped_before(signal);
            Ok(None)
        }
    };
    let served = match started {
        Ok(Some(app)) => serve_until(app, &mut shutdown, hangup, ready_file).await.map(|()| true),
        Ok(None) => Ok(false),
        Err(error) => Err(error),
    };
    // However it ended, so that neither another server nor the next start of this one waits for the end of the lease.
    let in_hurry = matches!(served, Err(ServerError::StoppedAtOnce(_)));
    let limit = if in_hurry { IN_HURRY } else { Duration::MAX };
    tokio::select! {
        () = closing.close(limit) => {}
        signal = shutdown.requested() => tracing::warn!(signal, "the lease may not have ended"),
    }
    served
}

fn stopped_before(signal: &str) -> bool {
    tracing::info!(signal, "stopped before it served");
    false
}

async fn serve_until(
    app: App,
    shutdown: &mut Shutdown,
    hangup: tokio::signal::unix::Signal,
    ready_file: Option<&Path>,
) -> Result<(), ServerError> {
    announce(&app, ready_file)?;
    systemd::feed_watchdog();
    let certificates = app.certificates.clone();
    let reloading = certificates::reload_on_change(certificates, app.hub.clone(), hangup);
    let certificates = tokio::spawn(reloading);
    let (signal, ends) = tokio::select! {
        signal = shutdown.requested() => (Some(signal), Ok(())),
        () = app.lost_lease() => (None, Err(ServerError::LeaseLost)),
        () = app.drained() => (None, Err(ServerError::Drained)),
    };
    certificates.abort();
    tracing::info!(signal, connections = app.connections(), "stopping");
    systemd::notify(&[
        NotifyState::Stopping,
        NotifyState::Status("draining connections"),
        NotifyState::ExtendTimeoutUsec(time_to_end(&app)),
    ]);
    tokio::select! {
        () = app.stop() => ends,
        signal = shutdown.requested() => Err(ServerError::StoppedAtOnce(signal)),
    }
}

/// Reports that devices can connect: to the log, the ready file and systemd.
fn announce(app: &App, ready_file: Option<&Path>) -> Result<(), ServerError> {
    let mut lines = String::new();
    for (address, listener) in app.addresses().iter().zip(&app.config.listeners) {
        let tls = listener.tls != TlsChoice::Off;
        tracing::info!(%address, path = app.config.path, tls, "listening");
        lines.push_str(&format!("{address}\n"));
    }
    if let Some(file) = ready_file {
        // Under another name first, so that no reader finds it incomplete.
        let unfinished = file.with_extension("new");
        fs::write(&unfinished, &lines)
            .and_then(|()| fs::rename(&unfinished, file))
            .map_err(ServerError::io(format!("write {}", file.display())))?;
    }
    let status = format!("listening on {}", lines.trim_end().replace('\n', ", "));
    systemd::notify_surely(&[NotifyState::Ready, NotifyState::Status(&status)]);
    tracing::info!("ready");
    Ok(())
}

/// How long the process may take to end, in microseconds, with a reserve.
fn time_to_end(app: &App) -> u32 {
    let reserve = Duration::from_secs(2);
    let all = app.time_to_stop() + LAST_TASKS + reserve;
    u32::try_from(all.as_micros()).unwrap_or(u32::MAX)
}

/// Raises the limit on open files to the highest that the system allows: each connection is one.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the number of open files");
    }
}
