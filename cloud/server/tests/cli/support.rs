use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fedecks_protocol::{AUTH_HEADER, AuthRequest, Credentials, DeviceId, Dialect, Proof};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program in a folder of its own, with nothing in its environment.
pub(crate) fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedecks-cloud"));
    command.env_clear().current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder, arguments).output().unwrap()
}

pub(crate) fn run_with_input(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = program(folder, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that fails before it reads has closed the pipe; how it ended is for the test to see.
    match child.stdin.take().unwrap().write_all(input.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("{error}"),
        Ok(()) | Err(_) => {}
    }
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A server that runs; it is killed if the test ends before it does.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { child, lines, address: ([0, 0, 0, 0], 0).into() };
        let line = server.line_with("listening");
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        server.address = address.unwrap_or_else(|| panic!("no address: {line}")).parse().unwrap();
        server
    }

    /// The next line of the log that contains `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text:?} in {seen:#?}"),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// How it ended, and the rest of its log.
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<String>) {
        // The log ends when the process does.
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            rest.push(line);
        }
        (self.child.wait().unwrap().code(), rest)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The head of the answer to an upgrade with these credentials.
    pub(crate) fn login(
        &self,
        device: &str,
        username: &str,
        password: &str,
    ) -> (TcpStream, String) {
        self.login_with(device, username, password, "")
    }

    /// With more headers.
    pub(crate) fn login_with(
        &self,
        device: &str,
        username: &str,
        password: &str,
        headers: &str,
    ) -> (TcpStream, String) {
        let credentials = Credentials::new().with("username", username).with("password", password);
        let request = AuthRequest {
            device_id: DeviceId::new(device).unwrap(),
            proof: Proof::Credentials(credentials),
        };
        let header = request.to_header(Dialect::Bincode).unwrap();
        let mut stream = self.connect();
        write!(
            stream,
            "GET /fedecks/websocket HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: fedecks.v1.bincode\r\n{AUTH_HEADER}: {header}\r\n{headers}\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        (stream, String::from_utf8(head).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stands where systemd listens to what the server says of itself.
pub(crate) struct Manager(UnixDatagram);

impl Manager {
    /// At `notify` in the folder.
    pub(crate) fn listen(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(crate) fn told(&self) -> String {
        let mut message = [0; 256];
        let length = self.0.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    }
}

/// Asks for what is not there, and reads that it is not.
pub(crate) fn assert_answers(stream: &mut (impl Read + Write)) {
    stream.write_all(b"GET /nothing-here HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
}

/// Reads until a close frame with this code.
pub(crate) fn until_close_frame(stream: &mut TcpStream, code: u16) {
    let mut received = Vec::new();
    let [high, low] = code.to_be_bytes();
    while !matches!(received[..], [.., 0x88, _, h, l] if (h, l) == (high, low)) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}: {received:02x?}"));
        received.push(byte[0]);
    }
}

pub(crate) fn add_account(folder: &Path, name: &str, password: &str) {
    let added = run_with_input(folder, &["account", "add", name], password);
    assert!(added.status.success(), "{}", stderr(&added));
}
