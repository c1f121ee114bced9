//! A separate NATS server for a test.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::wait::skip;

/// A server on 127.0.0.1, until this is dropped.
pub struct NatsServer {
    /// Where it listens, also after it was started again.
    pub address: SocketAddr,
    folder: TempDir,
    arguments: Vec<String>,
    guard: Option<Child>,
}

/// Runs the server as long as its standard input is open, so also not longer than the tests.
const GUARD: &str = r#"exec 3<&0
"$@" 3<&- </dev/null & pid=$!
(read -r how <&3; kill -KILL $pid) & reader=$!
wait $pid; kill $reader 2>/dev/null"#;

impl NatsServer {
    /// A new server with these arguments besides its address; `None` if NATS is not installed, and the test is
    /// reported as skipped.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        if Command::new("nats-server").arg("-v").stdout(Stdio::null()).status().is_err() {
            skip("nats-server is not installed");
            return None;
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { address, folder, arguments, guard: None };
        server.start_again();
        Some(server)
    }

    /// Its URL without TLS and login.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Starts it after [`NatsServer::kill`], and waits until it accepts connections.
    pub fn start_again(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let is_running =
                self.guard.as_mut().is_some_and(|guard| guard.try_wait().unwrap().is_none());
            if !is_running {
                self.guard = Some(self.spawn());
            }
            if TcpStream::connect(self.address).is_ok() {
                return;
            }
            let log = || std::fs::read_to_string(self.folder.path().join("log"));
            assert!(Instant::now() < until, "the server does not start: {:?}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        Command::new("sh")
            .args(["-c", GUARD, "guard", "nats-server", "-a", "127.0.0.1"])
            .args(["-p", &self.address.port().to_string()])
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    /// Kills it, and waits until it has ended.
    pub fn kill(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        drop(guard.stdin.take());
        guard.wait().unwrap();
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
