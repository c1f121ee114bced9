//! Puts the server together of its parts, runs it, and ends it when a signal says so.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::accounts::AccountHandler;
use fedecks_cloud::auth::{ApiTokens, FailedLogins};
use fedecks_cloud::serve::{Server, Tls};
use fedecks_cloud::{Denylist, Fedecks, Hub, Options, ServeOptions};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{Config, TlsChoice};
use crate::error::ServerError;
use crate::events::{self, Bounds, EventLog, Streams};
use crate::handler::Recording;
use crate::history::History;
use crate::http::dashboard::sessions::Sessions;
use crate::http::{health, router};
use crate::metrics::{Counters, Metrics};
use crate::signals::{self, Stop};
use crate::state::AppState;
use crate::store::{create_data_dir, open_store};
use crate::webhooks::{self, Webhooks};
use crate::{certificates, listeners, systemd};

/// Serves until it is told to stop by a signal.
pub(crate) fn run(config: Config, ready_file: Option<&Path>) -> Result<(), ServerError> {
    raise_open_files();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServerError::io("start the runtime"))?
        .block_on(serve(Arc::new(config), ready_file))
}

/// Reads what the server would read to start, and makes nothing: an error is what it would fail with.
/// Returns the certificate of each listener that has one in files.
pub(crate) fn check(config: &Config) -> Result<Vec<Option<Tls>>, ServerError> {
    if config.secrets.generated().is_none() {
        config.secrets.keyring()?;
    }
    webhooks::check(&config.webhooks)?;
    listeners::check(config)
}

/// How many devices are sent away at a time when the server stops.
const DRAIN_BATCH: usize = 256;

async fn serve(config: Arc<Config>, ready_file: Option<&Path>) -> Result<(), ServerError> {
    let mut stop = Stop::listen()?;
    let hangup = signals::hangup()?;
    let store = Arc::new(open_store(&config)?);
    if config.secrets.generated().is_some() {
        create_data_dir(&config)?;
        tracing::info!(data_dir = %config.data_dir.display(), "using the generated secret");
    }
    let keyring = config.secrets.keyring()?;
    let listen = listeners::load(&config)?;
    let denylist = Denylist::load(store.clone()).await?;
    tokio::spawn(denylist.clone().watch());
    let tokens = ApiTokens::load(store.clone()).await?;
    tokio::spawn(tokens.clone().watch());

    let failed_logins = FailedLogins::new(config.failed_logins);
    let kept = Bounds { events: config.events.keep, bytes: config.events.keep_bytes };
    let events = EventLog::new(kept);
    let counters = Counters::default();
    let accounts = AccountHandler::new(store.clone()).failed_logins(failed_logins.clone());
    let cloud = Fedecks::builder(Recording::new(accounts, events.clone(), counters.clone()))
        .store(store.clone())
        .keyring(keyring)
        .denylist(denylist.clone())
        .options(options(&config))
        .build()?;
    tokio::spawn(events::record_denials(denylist.subscribe(), events.clone()));
    let certificates = certificates::of(&listen);
    let trusted_proxies = config.trusted_proxies.clone();
    let options = ServeOptions { listen, trusted_proxies, limits: config.limits };
    let (stopping, stopped) = watch::channel(false);
    let streams = Streams::new(events.clone(), config.events.streams, stopped.clone());
    let webhooks = Webhooks::start(&config.webhooks, store.clone(), &events).await?;
    let metrics = Metrics::new(
        &counters,
        cloud.hub(),
        store.clone(),
        streams.clone(),
        webhooks.counters(),
        certificates.clone(),
    );
    let health = health::filter(store.clone(), &stopped);
    let history = History::new(&counters, cloud.hub());
    tokio::spawn(history.clone().keep());
    let state = Arc::new(AppState {
        hub: cloud.hub(),
        accounts: store.clone(),
        devices: store.clone(),
        audit: store,
        events,
        streams,
        metrics,
        history,
        sessions: Sessions::new(tokens.clone()),
        denylist,
        tokens,
        failed_logins,
        config: config.clone(),
    });
    let server = fedecks_cloud::serve(router::all(&cloud, &state, health), options)?;
    state.metrics.watch(&server);
    announce(&server, &config, ready_file)?;
    systemd::feed_watchdog();

    let certificates = tokio::spawn(certificates::reload_on_change(certificates, hangup));
    let signal = stop.told().await;
    certificates.abort();
    tracing::info!(signal, connections = server.connections(), "stopping");
    systemd::notify(&[
        NotifyState::Stopping,
        NotifyState::Status("draining connections"),
        NotifyState::ExtendTimeoutUsec(time_to_end(&config)),
    ]);
    // Nobody listening is no error.
    let _ = stopping.send(true);
    let hub = cloud.hub();
    tokio::select! {
        () = end(server, &hub, &config, webhooks) => Ok(()),
        signal = stop.told() => Err(ServerError::StoppedAtOnce(signal)),
    }
}

/// How long the end may take, in microseconds, with something to spare.
fn time_to_end(config: &Config) -> u32 {
    let all = config.drain.deadline + webhooks::LAST_KEPT + Duration::from_secs(5);
    u32::try_from(all.as_micros()).unwrap_or(u32::MAX)
}

/// Sends everybody away, within the deadline, and keeps what that leaves to tell.
async fn end(mut server: Server, hub: &Hub, config: &Config, webhooks: Webhooks) {
    let deadline = Instant::now() + config.drain.deadline;
    server.stop().await;
    let drained = hub.drain(DRAIN_BATCH, config.drain.spread);
    // Whoever is not told in time sees the connection break instead.
    let _ = tokio::time::timeout_at(deadline, drained).await;
    let left = server.closed(deadline.saturating_duration_since(Instant::now())).await;
    if left > 0 {
        tracing::warn!(left, "connections were still open at the deadline");
    }
    webhooks.end().await;
    tracing::info!("stopped");
}

fn options(config: &Config) -> Options {
    Options {
        path: config.path.clone(),
        token_lifetime: config.tokens.lifetime,
        token_refresh: config.tokens.refresh,
        heartbeat: config.sessions.heartbeat,
        idle_timeout: config.sessions.idle_timeout,
        max_frame: config.sessions.max_frame,
        max_header: config.sessions.max_header,
        messages_per_second: config.sessions.messages_per_second,
        message_burst: config.sessions.message_burst,
        ..Options::default()
    }
}

/// Tells everybody who waits for it that devices can connect.
fn announce(
    server: &Server,
    config: &Config,
    ready_file: Option<&Path>,
) -> Result<(), ServerError> {
    let mut lines = String::new();
    for (address, listener) in server.addresses().iter().zip(&config.listeners) {
        let tls = listener.tls != TlsChoice::Off;
        tracing::info!(%address, path = config.path, tls, "listening");
        lines.push_str(&format!("{address}\n"));
    }
    if let Some(file) = ready_file {
        // By another name first: whoever waits for the file finds it whole.
        let unfinished = file.with_extension("new");
        fs::write(&unfinished, &lines)
            .and_then(|()| fs::rename(&unfinished, file))
            .map_err(ServerError::io(format!("write {}", file.display())))?;
    }
    let status = format!("listening on {}", lines.trim_end().replace('\n', ", "));
    systemd::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    tracing::info!("ready");
    Ok(())
}

/// As many open files as the system allows: each connection is one.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the number of open files");
    }
}
