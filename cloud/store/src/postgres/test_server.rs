//! A separate PostgreSQL server for tests.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nix::unistd::User;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio_postgres::NoTls;

/// A server, and its files, until it is dropped.
pub(crate) struct TestServer {
    programs: PathBuf,
    folder: TempDir,
    pub(crate) port: u16,
    user: Option<User>,
    guard: Mutex<Option<Child>>,
    databases: Mutex<u32>,
}

/// The server that the tests share which run at the same time.
static SHARED: Mutex<Weak<TestServer>> = Mutex::new(Weak::new());

/// Runs the server as long as its standard input is open, so also not longer than the tests.
const GUARD: &str = r#"exec 3<&0
"$@" 3<&- </dev/null & pid=$!
(read -r how <&3; kill "-${how:-QUIT}" $pid) & reader=$!
wait $pid; kill $reader 2>/dev/null"#;

/// The server that tests share. A test ends here, and is reported as skipped, if PostgreSQL is not installed.
macro_rules! server {
    () => {
        match $crate::postgres::test_server::TestServer::shared() {
            Some(server) => server,
            None => return,
        }
    };
}

pub(crate) use server;

impl TestServer {
    /// The server that tests share; `None` if PostgreSQL is not installed, and the test is reported as skipped.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock();
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::new()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// A server that no other test uses.
    pub(crate) fn new() -> Option<Self> {
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
        let (guard, databases) = (Mutex::new(None), Mutex::new(0));
        let mut server = Self { programs, folder, port: 0, user, guard, databases };
        // With the order of a language, to see that nothing depends on it.
        let arguments = "--auth=trust --username=fedecks --encoding=UTF8 --no-sync --locale=C.UTF-8
            --locale-provider=icu --icu-locale=en-US";
        let made = server.command("initdb").args(arguments.split_whitespace()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let rules = "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
        std::fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
        // Not before initdb, which takes long enough for another process to take the port.
        server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        server.start();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
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

    /// Starts it, and waits until it answers.
    pub(crate) fn start(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        let port = self.port.to_string();
        loop {
            // It ends if the processes of the one before have not ended yet.
            let mut guard = self.guard.lock();
            let is_running =
                guard.as_mut().is_some_and(|guard| guard.try_wait().unwrap().is_none());
            if !is_running {
                *guard = Some(self.spawn(&port));
            }
            drop(guard);
            let asks = ["-q", "-h", "127.0.0.1", "-p", &port];
            if self.command("pg_isready").args(asks).status().unwrap().success() {
                return;
            }
            let log = || std::fs::read_to_string(self.log_file()).unwrap_or_default();
            assert!(Instant::now() < until, "the server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn spawn(&self, port: &str) -> Child {
        let mut command = Command::new("sh");
        self.prepare(&mut command);
        command
            .args(["-c", GUARD, "guard"])
            .arg(self.programs.join("postgres"))
            .args(["-p", port])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "max_connections=200", "-c", "shared_buffers=32MB"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(self.log_file()).unwrap())
            .spawn()
            .unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Ends it by a signal, such as `KILL`, and waits for that.
    pub(crate) fn stop(&self, signal: &str) {
        use std::io::Write;
        let Some(mut guard) = self.guard.lock().take() else { return };
        let mut input = guard.stdin.take().unwrap();
        // No one reads it if the server has ended by itself.
        let _ = writeln!(input, "{signal}");
        guard.wait().unwrap();
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// Runs statements in a database, as its administrator.
    pub(crate) async fn run(&self, database: &str, sql: &str) {
        self.connect(database).await.batch_execute(sql).await.unwrap();
    }

    /// A connection as its administrator.
    pub(crate) async fn connect(&self, database: &str) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// The name of a new database.
    pub(crate) async fn database(&self) -> String {
        let number = {
            let mut databases = self.databases.lock();
            *databases += 1;
            *databases
        };
        let name = format!("test_{number}");
        self.run("postgres", &format!("CREATE DATABASE {name}")).await;
        name
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop("QUIT");
    }
}

/// The URL of a database of a server at this port.
pub(crate) fn url(port: u16, database: &str) -> String {
    format!("postgres://fedecks@127.0.0.1:{port}/{database}")
}

/// The newest programs that are installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions =
        versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let folder = Path::new("/usr/lib/postgresql").join(versions.max()?.to_string()).join("bin");
    folder.join("initdb").exists().then_some(folder)
}

/// Reports a test that cannot run on this machine, and fails where all must run.
fn skip(reason: &str) {
    use std::io::Write;
    assert!(std::env::var_os("FEDECKS_TESTS_COMPLETE").is_none(), "cannot run here: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // Past the test runner, which hides the output of tests that pass.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}
