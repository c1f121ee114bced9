//! One trial: a cluster, its devices and applications, its faults, and what is to be said about its history.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use fedecks_testing::fleet_history::{FleetEntry, FleetHistory};
use fedecks_testing::history::{Finding, Verdict};
use fedecks_testing::http::Http;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::application;
use crate::cluster::Cluster;
use crate::device::{self, Doomed};
use crate::faults::schedule;
use crate::mode::Mode;
use crate::network::HERE;
use crate::observers;
use crate::options::Options;
use crate::receiver;
use crate::report::Report;
use crate::world::{Device, World};

/// How long it may take until servers serve, at the begin and after the last fault: 25 s for a lease, and a start.
const TAKEOVER: Duration = Duration::from_secs(60);

/// How long presence and requests may be wrong after that before the trial is given up.
const CONVERGES: Duration = Duration::from_secs(120);

/// How long the last messages may take.
const TRANSIT: Duration = Duration::from_secs(120);

/// The most devices that are revoked while the others never leave.
const DOOMED: usize = 4;

/// Runs the trial with this seed. `None` if something that it needs is not installed.
pub(crate) async fn run(seed: u64, options: &Options) -> Option<Report> {
    let began = Instant::now();
    let history = Rc::new(FleetHistory::default());
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let webhook = listener.local_addr().unwrap();
    let cluster = Cluster::start((options.mode, options.is_steady), webhook, &history).await?;
    let world = Rc::new(World {
        history,
        nodes: cluster.nodes.iter().map(|node| node.address).collect(),
        devices: (0..options.devices).map(Device::new).collect(),
        streams: cluster.nodes.iter().map(|_| Cell::new(false)).collect(),
        is_steady: options.is_steady,
        is_calm: Cell::new(false),
        is_over: Cell::new(false),
    });
    let mut trial = Trial {
        seed,
        mode: options.mode,
        apis: cluster.apis.clone().into(),
        cluster,
        world,
        faults: Vec::new(),
        background: JoinSet::new(),
        senders: JoinSet::new(),
    };
    trial.background.spawn_local(receiver::receives(listener, Rc::clone(&trial.world)));
    let failure = trial.passes(options).await.err();
    let report = trial.report(failure, began.elapsed().as_secs());
    if let Some(folder) = options.histories.as_ref().filter(|_| report.result() != "clean") {
        trial.write(folder, &report);
    }
    Some(report)
}

struct Trial {
    seed: u64,
    mode: Mode,
    cluster: Cluster,
    apis: Rc<[Http]>,
    world: Rc<World>,
    /// Those that have begun.
    faults: Vec<String>,
    /// What runs until the end.
    background: JoinSet<()>,
    /// What ends when the trial is over.
    senders: JoinSet<()>,
}

impl Trial {
    async fn passes(&mut self, options: &Options) -> Result<(), String> {
        self.serving().await?;
        let doomed = self.begin(options);
        if options.is_steady {
            self.all_connect().await?;
        }
        let faults = schedule(self.seed, self.mode, &options.faults, options.duration);
        let pause = options.duration / u32::try_from(doomed.len() + 1).unwrap();
        let revoking = application::revokes(
            Rc::clone(&self.apis),
            doomed,
            Rc::clone(&self.world),
            pause,
            Rng::with_seed(self.seed),
        );
        let revoking = tokio::task::spawn_local(revoking);
        for mut fault in faults {
            sleep(fault.pause).await;
            if self.mode == Mode::Standby {
                let first = self.ready().await.first().copied().unwrap_or_default();
                fault.node = (first + fault.node) % self.cluster.nodes.len();
            }
            self.faults.push(fault.to_string());
            self.world.history.add(FleetEntry::Fault(fault.to_string()));
            self.cluster.suffer(&fault).await;
        }
        let serving = self.serving().await?;
        let revoked = timeout(TAKEOVER, revoking).await;
        revoked.map_err(|_| "a revocation was not confirmed")?.map_err(|it| it.to_string())?;
        // The last one has its time to take effect.
        sleep(Duration::from_secs(3)).await;
        self.world.history.add(FleetEntry::FaultsOver);
        self.world.is_calm.set(true);
        for node in &serving {
            self.converges(*node).await?;
        }
        self.world.history.add(FleetEntry::Ended(serving.clone()));
        self.answers(&serving).await?;
        self.world.is_over.set(true);
        let senders = std::mem::take(&mut self.senders);
        timeout(TRANSIT, senders.join_all())
            .await
            .map_err(|_| format!("a request has had no answer for {TRANSIT:?}"))?;
        self.settles().await;
        Ok(())
    }

    /// Starts devices and applications.
    fn begin(&mut self, options: &Options) -> Vec<Rc<Doomed>> {
        let mut random = Rng::with_seed(self.seed);
        for device in &self.world.devices {
            let (device, world) = (Rc::clone(device), Rc::clone(&self.world));
            self.background.spawn_local(device::live(device.clone(), world.clone(), random.fork()));
            let sends = application::sends(Rc::clone(&self.apis), device, world, random.fork());
            self.senders.spawn_local(sends);
        }
        let doomed = if options.is_steady { DOOMED } else { usize::MAX };
        let last = options.devices + options.devices.div_ceil(6).min(doomed);
        let mut doomed = Vec::new();
        for number in options.devices..last {
            let id = format!("doomed-{number}");
            let device = Rc::new(Doomed { number, id, is_revoked: Cell::new(false) });
            doomed.push(Rc::clone(&device));
            self.background.spawn_local(device::live_doomed(device, Rc::clone(&self.world)));
        }
        let (apis, world) = (Rc::clone(&self.apis), Rc::clone(&self.world));
        self.senders.spawn_local(application::asks(apis.clone(), world.clone(), random.fork()));
        self.background.spawn_local(application::reads_log(apis, world, random.fork()));
        for (node, api) in self.cluster.apis.iter().enumerate() {
            let (api, world) = (api.clone(), Rc::clone(&self.world));
            let asks = observers::asks_whether_ready(node, api.clone(), world.clone());
            self.background.spawn_local(asks);
            self.background.spawn_local(observers::reads_events(node, api, world));
        }
        doomed
    }

    /// The servers that say that they lack nothing.
    async fn ready(&self) -> Vec<usize> {
        let mut ready = Vec::new();
        for (node, api) in self.cluster.apis.iter().enumerate() {
            if observers::is_cut_off(api).await == Some(false) {
                ready.push(node);
            }
        }
        ready
    }

    /// Waits until all servers serve that have to.
    async fn serving(&self) -> Result<Vec<usize>, String> {
        let began = Instant::now();
        let wanted = if self.mode == Mode::Several { self.cluster.nodes.len() } else { 1 };
        loop {
            let ready = self.ready().await;
            if ready.len() >= wanted {
                return Ok(ready);
            }
            if began.elapsed() > TAKEOVER {
                return Err(format!("after {TAKEOVER:?} only these servers are ready: {ready:?}"));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until all devices are connected.
    async fn all_connect(&self) -> Result<(), String> {
        let began = Instant::now();
        while !self.world.devices.iter().all(|device| device.is_connected.get()) {
            if began.elapsed() > CONVERGES {
                return Err(format!("not all devices have connected after {CONVERGES:?}"));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until a server says who is connected.
    async fn converges(&self, node: usize) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let devices = &self.world.devices;
            let connected = devices.iter().filter(|it| it.is_connected.get());
            let connected: BTreeSet<_> = connected.map(|it| it.id.clone()).collect();
            let listed = application::presence(&self.cluster.apis[node]).await;
            let listed: BTreeSet<_> = listed.unwrap_or_default().into_iter().collect();
            if listed == connected && connected.len() == devices.len() {
                self.world.history.add(FleetEntry::Converged(node));
                return Ok(());
            }
            if began.elapsed() > CONVERGES {
                let differ: Vec<_> = listed.symmetric_difference(&connected).take(5).collect();
                let (listed, connected) = (listed.len(), connected.len());
                return Err(format!(
                    "server {node} lists {listed}, and {connected} of {} devices are connected; \
                     they differ in {differ:?}",
                    devices.len()
                ));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a device answers at each server.
    async fn answers(&self, serving: &[usize]) -> Result<(), String> {
        for node in serving {
            let began = Instant::now();
            for (question, device) in (1_000_000..).zip(self.world.devices.iter().take(5)) {
                let api = &self.cluster.apis[*node];
                while !application::ask(api, device, question, &self.world).await {
                    if began.elapsed() > CONVERGES {
                        return Err(format!("{} does not answer at server {node}", device.id));
                    }
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
        Ok(())
    }

    /// Waits until nothing is missing, or nothing is to be expected any more.
    async fn settles(&self) {
        let began = Instant::now();
        while began.elapsed() < TRANSIT {
            let left = self.world.devices.iter().map(|it| it.unacknowledged()).sum::<u64>();
            let clean = self.verdicts().iter().all(|(_, verdict)| verdict.is_clean());
            self.close_streams();
            if left == 0 && clean && self.world.history.findings().is_empty() {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Where no stream is open, as on a standby, nothing more is to be seen.
    fn close_streams(&self) {
        for (node, is_open) in self.world.streams.iter().enumerate() {
            if self.mode == Mode::Standby && !is_open.get() {
                self.world.history.add(FleetEntry::Gap(node));
            }
        }
    }

    fn verdicts(&self) -> Vec<(String, Verdict)> {
        let devices = self.world.devices.iter();
        devices.map(|device| (device.id.clone(), device.messages.verdict())).collect()
    }

    fn report(&self, failure: Option<String>, seconds: u64) -> Report {
        let records = self.world.history.records();
        let count = |is_one: fn(&FleetEntry) -> bool| {
            records.iter().filter(|record| is_one(&record.entry)).count()
        };
        let mut verdicts = self.verdicts();
        let mut findings = self.world.history.findings();
        // Of a trial that was given up, what is missing might still have come.
        if failure.is_some() {
            let is_lost = |it: &Finding| matches!(it, Finding::Lost(_));
            verdicts.iter_mut().for_each(|(_, verdict)| verdict.findings.retain(|it| !is_lost(it)));
            findings.retain(|it| !it.is_missing());
        }
        let away = records.iter().filter_map(|record| {
            if let FleetEntry::Back { away, .. } = record.entry { Some(away) } else { None }
        });
        Report {
            longest_away: away.max().unwrap_or_default(),
            seed: self.seed,
            mode: self.mode,
            faults: self.faults.clone(),
            verdicts,
            findings,
            sessions: self.world.devices.iter().map(|it| it.session.get()).sum(),
            revoked: count(|it| matches!(it, FleetEntry::Revoked(_))),
            deliveries: count(|it| matches!(it, FleetEntry::Delivered { .. })),
            gaps: count(|it| matches!(it, FleetEntry::Gap(_))),
            seconds,
            failure,
        }
    }

    /// Writes what explains the trial.
    fn write(&self, folder: &Path, report: &Report) {
        let mut text = format!("{}\n\n", report.json());
        for finding in &report.findings {
            writeln!(text, "{finding:?}").unwrap();
        }
        for record in self.world.history.records() {
            writeln!(text, "{:>6} ms {:?}", record.at.as_millis(), record.entry).unwrap();
        }
        for device in &self.world.devices {
            writeln!(text, "\n{}:", device.id).unwrap();
            for record in device.messages.records() {
                writeln!(text, "{:>6} ms {:?}", record.at.as_millis(), record.entry).unwrap();
            }
        }
        for node in &self.cluster.nodes {
            write!(text, "\nserver {}:\n{}", node.number, node.log()).unwrap();
        }
        let file = folder.join(format!("cluster-{}-{}.txt", self.mode.name(), self.seed));
        std::fs::write(file, text).unwrap();
    }
}
