//! The server: assembled from its parts, and stopped.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedecks_cloud::auth::{ApiTokens, FailedLogins};
use fedecks_cloud::serve::{Server, Tls};
use fedecks_cloud::{Denylist, Fedecks, Hub, Options, ServeOptions};
use fedecks_store::{DeviceQuery, NodeRecord};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use crate::audit_trail::AuditTrail;
use crate::clock::ClockKeeper;
use crate::cluster::{self, ClusterStatus, Leadership, Peers};
use crate::config::{Config, Overrides, Service};
use crate::dashboard_sessions::DashboardSessions;
use crate::device_messages::DeviceMessages;
use crate::error::ServerError;
use crate::events::{self, Bounds, EventLog, LostDevices, SharedEvents, Streams};
use crate::handler::RecordingHandler;
use crate::history::History;
use crate::http::{health, root};
use crate::lease::Lease;
use crate::metrics::{
    DeviceCounters, DeviceMessageCounters, DeviceRequests, LogConsumers, Metrics,
};
use crate::opened::Opened;
use crate::own_node::OwnNode;
use crate::registrations::RegistrationRecorder;
use crate::request_memory::RequestMemory;
use crate::state::AppState;
use crate::store::{Closing, create_data_dir};
use crate::webhooks::{self, KeptEvents, Webhooks};
use crate::{expiry, listeners, preflight};

/// How long the last calls that settle messages to devices may take when the server stops.
const LAST_SETTLED: Duration = Duration::from_secs(2);

/// The number of devices that are disconnected at a time when the server stops.
const DRAIN_BATCH: usize = 256;

/// A running server, without the signals and systemd that `fedecks-cloud serve` adds. Dropping it
/// closes its listeners.
pub struct App {
    pub(crate) config: Arc<Config>,
    server: Server,
    pub(crate) hub: Hub,
    tokens: ApiTokens,
    pub(crate) certificates: Vec<Tls>,
    webhooks: Webhooks,
    /// With the other servers.
    shared_events: Option<SharedEvents>,
    /// By which it serves on a database.
    lease: Option<Lease>,
    stopping: watch::Sender<bool>,
    /// Has messages to devices expire. Aborted when this is dropped.
    expiring: JoinSet<()>,
    closing: Closing,
    _node: Option<Arc<OwnNode>>,
    // Aborted when this is dropped.
    _tasks: JoinSet<()>,
}

impl App {
    /// Starts a server with this configuration file; the environment changes nothing.
    pub async fn start(config: &Path) -> Result<Self, impl Error + use<>> {
        let config = Config::load(Some(config), |_| None, Overrides::default())?;
        let opened = Opened::open(config).await?;
        let (closing, _node) = (opened.store.closing.clone(), opened.node.clone());
        let started = Self::start_on(opened, |_| {}).await;
        if started.is_err() {
            closing.close(Duration::MAX).await;
        }
        started
    }

    /// Starts it once it has its lease, if the store is in a database; `on_standby` learns who else has one. If it fails or
    /// is dropped, the caller has to close the store, which ends the lease.
    pub(crate) async fn start_on(
        opened: Opened,
        on_standby: impl FnMut(&NodeRecord),
    ) -> Result<Self, ServerError> {
        let Opened { config, preflight, store, node } = opened;
        let lease = match (store.nodes.clone(), &node) {
            (Some(nodes), Some(node)) => {
                preflight::check_addresses(&config)?;
                Some(Lease::begin(nodes, node.id, config.cluster.as_ref(), on_standby).await?)
            }
            _ => None,
        };
        let (mut joined, mut leads) = (None, Leadership::always());
        if let (Some(cluster), Some(lease)) = (&config.cluster, &lease) {
            joined = Some(Arc::new(cluster::join(cluster).await?));
            leads = Leadership::of(lease.state());
        }
        if config.secrets.generated().is_some() {
            create_data_dir(&config)?;
            tracing::info!(data_dir = %config.data_dir.display(), "using the generated secret");
        }
        let missing = config.secrets.missing();
        let keyring = config.secrets.keyring()?;
        if let Some(file) = missing {
            let one = DeviceQuery { limit: 1, ..DeviceQuery::default() };
            if !store.devices.devices_page(&one).await?.is_empty() {
                tracing::warn!(
                    file = %file.display(),
                    "generated a new one, as it was missing: all devices have to log in again, unless you stop the \
                     server and restore the previous file"
                );
            }
        }
        let for_clock = config.clone();
        let keeper = spawn_blocking(move || ClockKeeper::start(for_clock)).await;
        let keeper =
            keeper.map_err(|error| ServerError::io("read the clock's floor")(error.into()))?;
        let clock = keeper.clock().clone();
        let listen = listeners::load(&config, preflight.certificates, &keyring.ticket_secret())?;
        let denylist = Denylist::load(store.devices.clone()).await?;
        let tokens = ApiTokens::load(store.api_tokens.clone(), clock.clone()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.run());

        let failed_logins = FailedLogins::load(config.failed_logins, store.known_logins).await?;
        let audit_trail = AuditTrail::new(store.audit.clone());
        tasks.spawn(expiry::run(store.all.clone(), clock.clone(), leads.clone()));
        let kept = Bounds { events: config.events.keep, bytes: config.events.keep_bytes };
        let events = EventLog::new(kept);
        let counters = DeviceCounters::default();
        let registrations = RegistrationRecorder::new(events.clone(), counters.clone());
        let accounts = store
            .handler
            .failed_logins(failed_logins.clone())
            .may_reregister(config.registration.may_reregister)
            .observer(Arc::new(registrations.clone()));
        let message_counters = DeviceMessageCounters::default();
        let counted = (counters.clone(), message_counters.clone());
        let recorders = (events.clone(), audit_trail.clone(), registrations);
        let kept = KeptEvents::new(&config.webhooks);
        let handler =
            RecordingHandler::new(accounts, denylist.clone(), kept.clone(), counted, recorders);
        let cloud = Fedecks::builder(handler, keyring, store.devices.clone());
        let with_clients = config.listeners.iter().enumerate();
        let cloud = with_clients.fold(cloud, |cloud, (index, listener)| match &listener.clients {
            Some(clients) => cloud.certificates(index, clients.rules),
            None => cloud,
        });
        let cloud = match (&joined, &lease) {
            (Some(joined), Some(lease)) => {
                cloud.backplane(joined.backplane()).node(cluster::node_id(lease.epoch()))
            }
            _ => cloud,
        };
        let cloud = cloud
            .messages(store.messages.clone())
            .device_queue(store.device_queue.clone())
            .denylist(denylist.clone())
            .clock(clock.clone())
            .options(options(&config))
            .build()
            .await?;
        let changes = denylist.subscribe();
        tasks.spawn(events::record_access_changes(changes, events.clone(), leads.clone()));
        let shared_events = joined.as_ref().zip(store.nodes).map(|(_, nodes)| {
            let lost = LostDevices::default();
            let serving = move || {
                let nodes = nodes.clone();
                async move { cluster::serving(&*nodes).await }
            };
            tasks.spawn(lost.clone().run(cloud.hub(), events.clone(), leads.clone(), serving));
            SharedEvents::start(&cloud.hub(), &events, lost)
        });
        let certificates: Vec<_> = listen.iter().filter_map(|listen| listen.tls.clone()).collect();
        let options = ServeOptions::from(listen).with(|it| {
            it.trusted_proxies = config.trusted_proxies.clone();
            it.limits = config.limits;
        });
        let (stopping, stopped) = watch::channel(false);
        let streams = Streams::new(events.clone(), &config.events, stopped.clone());
        let webhooks =
            Webhooks::start(&config.webhooks, store.queues, (&events, &kept), &clock, &leads)
                .await?;
        let monitor = store.monitor;
        let request_memory = RequestMemory::new(config.request_memory);
        let metrics = Metrics::new();
        metrics.register(counters.clone());
        metrics.register(cloud.hub());
        metrics.register(monitor.clone());
        metrics.register(streams.clone());
        metrics.register(webhooks.counters.clone());
        metrics.register(certificates.clone());
        metrics.register(request_memory.clone());
        metrics.register(clock.clone());
        let device_requests = DeviceRequests::default();
        metrics.register(device_requests.clone());
        metrics.register(message_counters.clone());
        let consumers = LogConsumers::default();
        metrics.register(consumers.clone());
        tasks.spawn(consumers.run(store.all, leads.clone()));
        let device_messages =
            DeviceMessages::new(store.device_queue, cloud.hub(), clock.clone(), message_counters);
        let mut expiring = JoinSet::new();
        expiring.spawn(expiry::run_messages(
            device_messages.clone(),
            stopped.clone(),
            leads.clone(),
        ));
        let status = joined.zip(lease.as_ref()).map(|(joined, lease)| {
            let peers = Peers::default();
            let (hub, state) = (cloud.hub(), lease.state());
            let (spread, other) = (config.drain.spread, lease.other_renewed());
            tasks.spawn(peers.clone().follow(hub.clone(), state.clone(), other));
            tasks.spawn(cluster::react_to_isolation(hub.clone(), state.clone(), spread));
            let asked = state.clone();
            tasks.spawn(cluster::rebalance_when_asked(hub.clone(), asked, joined.clone(), spread));
            tasks.spawn(cluster::carry_bells(hub, kept, leads));
            ClusterStatus { lease: state, peers, denylist: denylist.clone(), joined }
        });
        if let Some(status) = &status {
            metrics.register(status.clone());
        }
        let lease_state = lease.as_ref().map(Lease::state);
        let health = health::filter(monitor, clock.clone(), lease_state, status, &stopped);
        let history = History::new(&counters, cloud.hub());
        tasks.spawn(history.clone().run());
        let state = Arc::new(AppState {
            hub: cloud.hub(),
            accounts: store.accounts,
            claims: store.claims,
            registrations: store.registrations,
            devices: store.devices,
            messages: store.messages,
            consumers: store.consumers,
            device_messages,
            audit: store.audit,
            audit_trail,
            events,
            streams,
            metrics,
            device_requests,
            history,
            sessions: DashboardSessions::new(tokens.clone()),
            request_memory: request_memory.clone(),
            clock,
            denylist,
            tokens: tokens.clone(),
            failed_logins,
            config: config.clone(),
        });
        let options = options.with(|it| {
            for (listen, listener) in it.listen.iter_mut().zip(&config.listeners) {
                listen.upgrades = listener.serves(Service::Devices).then(|| cloud.upgrades());
            }
        });
        let server = fedecks_cloud::serve(root::filter(&cloud, &state, health), options)?;
        state.metrics.register(server.monitor());
        let (hub, closing, _tasks) = (cloud.hub(), store.closing, tasks);
        Ok(Self {
            config,
            server,
            hub,
            tokens,
            certificates,
            webhooks,
            shared_events,
            lease,
            stopping,
            expiring,
            closing,
            _node: node,
            _tasks,
        })
    }

    /// Disconnects every device, within the configured deadline, and stores the events that are not
    /// delivered yet.
    pub async fn stop(mut self) {
        // Fails only if nothing depends on it.
        let _ = self.stopping.send(true);
        let drain = &self.config.drain;
        let deadline = Instant::now() + drain.deadline;
        self.server.stop().await;
        let drained = self.hub.drain(DRAIN_BATCH, drain.spread);
        // A device that is not reached in time sees the connection break instead.
        let _ = tokio::time::timeout_at(deadline, drained).await;
        let left = self.server.closed(deadline.saturating_duration_since(Instant::now())).await;
        if left > 0 {
            tracing::warn!(left, "connections were still open at the deadline");
        }
        let settled = async {
            while self.expiring.join_next().await.is_some() {}
            self.hub.flush_settled().await;
        };
        if tokio::time::timeout(LAST_SETTLED, settled).await.is_err() {
            tracing::warn!("messages to devices may have their final state without an event");
        }
        self.webhooks.end().await;
        if let Some(shared_events) = self.shared_events {
            shared_events.end().await;
        }
        drop(self.lease);
        self.closing.close(Duration::MAX).await;
        tracing::info!("stopped");
    }

    /// Returns once another server may serve on the database; never for a store in a file.
    pub(crate) async fn lost_lease(&self) {
        match &self.lease {
            Some(lease) => lease.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Returns once an operator has asked this server to end.
    pub(crate) async fn drained(&self) {
        match &self.lease {
            Some(lease) => lease.drained().await,
            None => std::future::pending().await,
        }
    }

    /// How long [`App::stop`] may take.
    pub(crate) fn time_to_stop(&self) -> Duration {
        self.config.drain.deadline + LAST_SETTLED + webhooks::LAST_KEPT + self.closing.time
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// The address of each listener, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// The API tokens that it accepts.
    pub fn tokens(&self) -> &ApiTokens {
        &self.tokens
    }
}

fn options(config: &Config) -> Options {
    Options::default().with(|it| {
        it.path = config.path.clone();
        it.token_lifetime = config.tokens.lifetime;
        it.token_refresh = config.tokens.refresh;
        it.token_grace = config.sessions.token_grace;
        it.heartbeat = config.sessions.heartbeat;
        it.idle_timeout = config.sessions.idle_timeout;
        it.max_frame = config.sessions.max_frame;
        it.max_decoded = config.sessions.max_decoded;
        it.max_decoded_by_device = config.sessions.max_decoded_by_device;
        it.max_header = config.sessions.max_header;
        it.messages_per_second = config.sessions.messages_per_second;
        it.message_burst = config.sessions.message_burst;
        it.bytes_per_second = config.sessions.bytes_per_second;
        it.byte_burst = config.sessions.byte_burst;
        it.queue_messages = config.sessions.queue_messages;
        it.queue_bytes = config.sessions.queue_bytes;
        it.received_bytes = config.sessions.received_bytes;
        it.queued_bytes = config.sessions.queued_bytes;
    })
}
