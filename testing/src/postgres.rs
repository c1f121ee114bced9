//! A separate PostgreSQL server for a test of a program.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tempfile::TempDir;

use crate::wait::skip;

/// A server and its files, until this is dropped.
pub struct PostgresServer {
    /// Where it listens besides 127.0.0.1.
    address: Option<IpAddr>,
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    user: Option<User>,
    guard: Option<Child>,
}

/// The role that the databases belong to; it needs [`PostgresServer::PASSWORD`].
const OWNER: &str = "fedecks";

/// Runs the server as long as its standard input is open, so also not longer than the tests.
const GUARD: &str = r#"exec 3<&0
"$@" 3<&- </dev/null & pid=$!
(read -r how <&3; kill "-${how:-QUIT}" $pid) & reader=$!
wait $pid; kill $reader 2>/dev/null"#;

impl PostgresServer {
    /// The password of the role that its databases belong to.
    pub const PASSWORD: &str = "p@ss:/word? of & the %database";

    /// A new server on 127.0.0.1; `None` if PostgreSQL is not installed, and the test is reported as skipped.
    pub fn start() -> Option<Self> {
        Self::start_at(None)
    }

    /// The same, which also listens at an address, for its network of 24 bits. Where that is in a network namespace, this
    /// and what starts the server again or runs a statement have to be called within it.
    pub fn start_at(address: Option<IpAddr>) -> Option<Self> {
        let Some(programs) = programs() else {
            skip("PostgreSQL is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // It does not run as root.
        let user = nix::unistd::geteuid().is_root().then(|| {
            let user = |name| User::from_name(name).unwrap();
            user("postgres").or_else(|| user("daemon")).expect("a user that is not root")
        });
        if let Some(user) = &user {
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let mut server = Self { address, programs, folder, port: 0, user, guard: None };
        let arguments = "--auth=trust --username=postgres --encoding=UTF8 --no-sync";
        server.run("initdb", &arguments.split(' ').collect::<Vec<_>>());
        let mut rules =
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
                .to_owned();
        if let Some(address) = address {
            rules += &format!("host all all {address}/24 scram-sha-256\n");
        }
        std::fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
        // Not before initdb, which takes long enough for another process to take the port.
        server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        server.start_again();
        server.sql(&format!("CREATE ROLE {OWNER} LOGIN PASSWORD '{}'", Self::PASSWORD));
        Some(server)
    }

    /// Starts it after [`PostgresServer::kill`], and waits until it answers.
    pub fn start_again(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        let port = self.port.to_string();
        let asks = ["-q", "-h", "127.0.0.1", "-p", &port];
        loop {
            // It ends if the processes of the one before have not ended yet.
            let is_running =
                self.guard.as_mut().is_some_and(|guard| guard.try_wait().unwrap().is_none());
            if !is_running {
                self.guard = Some(self.spawn());
            }
            if self.command("pg_isready").args(asks).status().unwrap().success() {
                return;
            }
            let log = || std::fs::read_to_string(self.log_file()).unwrap_or_default();
            assert!(Instant::now() < until, "the server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn spawn(&self) -> Child {
        let also = self.address.map(|address| format!(",{address}")).unwrap_or_default();
        let addresses = format!("listen_addresses=127.0.0.1{also}");
        let mut command = Command::new("sh");
        self.prepare(&mut command);
        command
            .args(["-c", GUARD, "guard"])
            .arg(self.programs.join("postgres"))
            .args(["-p", &self.port.to_string()])
            .args(["-c", &addresses, "-c", "unix_socket_directories="])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(self.log_file()).unwrap())
            .spawn()
            .unwrap()
    }

    /// Kills it as a power cut would, and waits until the processes of its connections have ended, too.
    pub fn kill(&mut self) {
        let processes = self.processes();
        self.end("KILL");
        let until = Instant::now() + Duration::from_secs(60);
        while processes.iter().any(|process| is_running(process)) {
            assert!(Instant::now() < until, "processes of the server do not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once without a checkpoint, as an administrator may: the next start recovers.
    pub fn stop(&mut self) {
        self.end("QUIT");
    }

    /// Sends a signal to all its processes.
    pub fn signal(&self, signal: Signal) {
        let Ok(first) = std::fs::read_to_string(self.data().join("postmaster.pid")) else { return };
        let first = first.lines().next().unwrap_or_default().to_owned();
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.unwrap_or_default();
        for process in std::iter::once(first.as_str()).chain(children.split_whitespace()) {
            // One may have ended by itself.
            let _ = kill(Pid::from_raw(process.parse().unwrap()), signal);
        }
    }

    /// The numbers of the processes that the server has started.
    fn processes(&self) -> Vec<String> {
        let first = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let first = first.lines().next().unwrap_or_default();
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        children.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }

    fn end(&mut self, signal: &str) {
        use std::io::Write;
        let Some(mut guard) = self.guard.take() else { return };
        // No one reads it if the server has ended by itself.
        let _ = writeln!(guard.stdin.take().unwrap(), "{signal}");
        guard.wait().unwrap();
    }

    /// Makes an empty database, and returns its URL without the password.
    pub fn database(&self, name: &str) -> String {
        self.sql(&format!("CREATE DATABASE {name} OWNER {OWNER}"));
        self.url(name)
    }

    /// The URL of a database, without the password.
    pub fn url(&self, database: &str) -> String {
        let address = self.address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        format!("postgres://{OWNER}@{address}:{}/{database}", self.port)
    }

    /// Runs a statement as the administrator.
    fn sql(&self, statement: &str) {
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-qXc", statement];
        self.run("psql", &arguments);
    }

    /// A command that runs a statement in a database as the administrator.
    pub fn command_for(&self, database: &str, statement: &str) -> Command {
        let mut command = self.command("psql");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"]);
        command.args(["-d", database, "-qXc", statement]);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let done = self.command(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A program of PostgreSQL, in the folder and as the user of the server.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command.env("PGDATA", self.data()).current_dir(self.folder.path());
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.guard.is_some() {
            self.signal(Signal::SIGCONT);
        }
        self.end("QUIT");
    }
}

/// It has not ended, whether or not its parent knows that.
fn is_running(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// The newest programs that are installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions =
        versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let folder = Path::new("/usr/lib/postgresql").join(versions.max()?.to_string()).join("bin");
    folder.join("initdb").exists().then_some(folder)
}
