//! The programs of a trial: PostgreSQL, nats-server and three servers, each on a host.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedecks_testing::cloud_process::CloudProgram;
use fedecks_testing::fleet_history::FleetHistory;
use fedecks_testing::http::Http;
use fedecks_testing::postgres::PostgresServer;
use fedecks_testing::wall_clock::WallClock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::{JoinSet, spawn_blocking};

use crate::mode::Mode;
use crate::network::{self, Host};
use crate::node::Node;
use crate::receiver::SECRET;

/// How many servers there are.
pub(crate) const NODES: usize = 3;

/// The port of nats-server.
const NATS: u16 = 4222;

/// A short heartbeat, so that both ends notice soon that a connection is silent.
const SESSIONS: &str = "[sessions]\nheartbeat = \"2s\"\nidle_timeout = \"6s\"\n";

/// For thousands of devices that never leave, who take this time to come back from a server that ends.
const STEADY: &str = "[drain]\nspread = \"10s\"\n\
                      [sessions]\nheartbeat = \"10s\"\nidle_timeout = \"30s\"\n";

/// The running programs. They are killed when this is dropped.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Rc<Node>>,
    pub(crate) apis: Vec<Http>,
    pub(crate) database: Database,
    pub(crate) nats: Nats,
    _supervisors: JoinSet<()>,
}

/// PostgreSQL on its host.
pub(crate) struct Database {
    pub(crate) host: Rc<Host>,
    server: Arc<Mutex<PostgresServer>>,
}

/// nats-server on its host.
pub(crate) struct Nats {
    pub(crate) host: Host,
    process: std::cell::RefCell<Child>,
    folder: TempDir,
}

impl Cluster {
    /// Starts everything; `webhook` is the receiver's address. `None` if something that it needs is not installed.
    pub(crate) async fn start(
        (mode, is_steady): (Mode, bool),
        webhook: SocketAddr,
        history: &Rc<FleetHistory>,
    ) -> Option<Self> {
        network::settle().await;
        let database = Database::start().await?;
        let nats = Nats::start(Host::new(11).await?);
        let url = database.url();
        let sessions = if is_steady { STEADY } else { SESSIONS };
        let rest = configuration(mode, webhook, nats.host.address);
        let lines =
            format!("store = {url:?}\nstore_password_file = \"password\"\n{sessions}{rest}");
        let program = std::env::current_exe().unwrap().with_file_name("fedecks-cloud");
        let new_program = |lines: &str| {
            let program = CloudProgram::configured(program.clone(), lines);
            let password = format!("{}\n", PostgresServer::PASSWORD);
            std::fs::write(program.folder.path().join("password"), password).unwrap();
            program
        };
        let first = new_program(&lines);
        first.run(&["store", "init"], "").await;
        let roles = ["--role", "read", "--role", "send", "--role", "admin"];
        let printed = first.run(&[&["token", "add", "trials"], &roles[..]].concat(), "").await;
        let token = printed.lines().find(|line| line.starts_with("fdk_")).unwrap().to_owned();
        let mut nodes = Vec::new();
        let mut supervisors = JoinSet::new();
        for number in 0..NODES {
            let host = Host::new(21 + u8::try_from(number).unwrap()).await?;
            let clock = WallClock::new();
            let node = Node::start(number, host, clock.of(new_program(&lines)), clock, history);
            let supervised = Rc::clone(&node);
            supervisors.spawn_local(async move { supervised.supervise().await });
            nodes.push(node);
        }
        let apis = nodes.iter().map(|node| Http::to(node.address).token(&token)).collect();
        Some(Self { nodes, apis, database, nats, _supervisors: supervisors })
    }
}

fn configuration(mode: Mode, webhook: SocketAddr, nats: std::net::IpAddr) -> String {
    let mut lines = String::new();
    if mode == Mode::Several {
        lines += &format!("[cluster]\nnats = \"nats://{nats}:{NATS}\"\n");
    }
    lines += &format!(
        "[[webhook]]\nname = \"trials\"\nurl = \"http://{webhook}/hook\"\nsecret = {SECRET:?}\n\
         kinds = [\"message\", \"connected\", \"disconnected\"]\n"
    );
    lines
}

impl Database {
    async fn start() -> Option<Self> {
        let host = Rc::new(Host::new(10).await?);
        let server = {
            let _inside = host.namespace.inside();
            let server = PostgresServer::start_at(Some(host.address))?;
            server.database("fedecks");
            server
        };
        Some(Self { host, server: Arc::new(Mutex::new(server)) })
    }

    fn url(&self) -> String {
        format!("{}?sslmode=disable", self.server.lock().unwrap().url("fedecks"))
    }

    /// Kills it, and starts it again after this time.
    pub(crate) async fn kill(&self, away: Duration) {
        self.with(PostgresServer::kill).await;
        tokio::time::sleep(away).await;
        self.with(PostgresServer::start_again).await;
    }

    /// Shuts it down at once, and starts it again after this time.
    pub(crate) async fn shut_down(&self, away: Duration) {
        self.with(PostgresServer::stop).await;
        tokio::time::sleep(away).await;
        self.with(PostgresServer::start_again).await;
    }

    /// Stops it for this time.
    pub(crate) async fn pause(&self, lasts: Duration) {
        self.with(|server| server.signal(Signal::SIGSTOP)).await;
        tokio::time::sleep(lasts).await;
        self.with(|server| server.signal(Signal::SIGCONT)).await;
    }

    /// Writes a row in a transaction that lasts for this time.
    pub(crate) async fn write_for(&self, lasts: Duration) {
        let seconds = lasts.as_secs_f64();
        let statement = format!(
            "CREATE TABLE IF NOT EXISTS trials (n int); BEGIN; INSERT INTO trials VALUES (1); \
             SELECT pg_sleep({seconds}); COMMIT"
        );
        let mut command = self.server.lock().unwrap().command_for("fedecks", &statement);
        command.stdout(Stdio::null());
        let mut child = {
            let _inside = self.host.namespace.inside();
            Command::from(command).kill_on_drop(true).spawn().unwrap()
        };
        assert!(child.wait().await.unwrap().success(), "the transaction failed");
    }

    /// Calls it in a thread on its host.
    async fn with(&self, call: impl FnOnce(&mut PostgresServer) + Send + 'static) {
        let server = Arc::clone(&self.server);
        let file = self.host.namespace.handle();
        let called = spawn_blocking(move || {
            let _inside = file.inside();
            call(&mut server.lock().unwrap());
        });
        called.await.unwrap();
    }
}

impl Nats {
    fn start(host: Host) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = std::cell::RefCell::new(spawn_nats(&host, &folder));
        Self { host, process, folder }
    }

    /// Kills it, and starts it again after this time.
    pub(crate) async fn kill(&self, away: Duration) {
        self.signal(Signal::SIGKILL);
        tokio::time::sleep(away).await;
        *self.process.borrow_mut() = spawn_nats(&self.host, &self.folder);
    }

    /// Stops it for this time.
    pub(crate) async fn pause(&self, lasts: Duration) {
        self.signal(Signal::SIGSTOP);
        tokio::time::sleep(lasts).await;
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.borrow().id().expect("nats-server has ended");
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }
}

fn spawn_nats(host: &Host, folder: &TempDir) -> Child {
    let log = folder.path().join("log");
    let log = File::options().create(true).append(true).open(log).unwrap();
    let _inside = host.namespace.inside();
    Command::new("nats-server")
        .args(["--addr", &host.address.to_string(), "--port", &NATS.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("nats-server")
}
