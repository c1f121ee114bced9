//! The real binary: what it prints, what it leaves behind and how it ends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail the test")]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fedecks_protocol::{AUTH_HEADER, AuthRequest, Credentials, DeviceId, Dialect, Proof};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// The program in a folder of its own, with nothing in its environment.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedecks-cloud"));
    command.env_clear().current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder, arguments).output().unwrap()
}

fn run_with_input(folder: &Path, arguments: &[&str], input: &str) -> Output {
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

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A server that runs; it is killed if the test ends before it does.
struct Server {
    child: Child,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command) -> Self {
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
    fn line_with(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text:?} in {seen:#?}"),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// How it ended, and the rest of its log.
    fn ended(mut self) -> (Option<i32>, Vec<String>) {
        // The log ends when the process does.
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            rest.push(line);
        }
        (self.child.wait().unwrap().code(), rest)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The head of the answer to an upgrade with these credentials.
    fn login(&self, device: &str, username: &str, password: &str) -> (TcpStream, String) {
        self.login_with(device, username, password, "")
    }

    /// With more headers.
    fn login_with(
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

/// Reads until a close frame with this code.
fn until_close_frame(stream: &mut TcpStream, code: u16) {
    let mut received = Vec::new();
    let [high, low] = code.to_be_bytes();
    while !matches!(received[..], [.., 0x88, _, h, l] if (h, l) == (high, low)) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}: {received:02x?}"));
        received.push(byte[0]);
    }
}

fn add_account(folder: &Path, name: &str, password: &str) {
    let added = run_with_input(folder, &["account", "add", name], password);
    assert!(added.status.success(), "{}", stderr(&added));
}

#[test]
fn a_wrong_value_is_told_with_file_line_key_and_expectation_and_exit_code_78() {
    let folder = folder();
    fs::write(folder.path().join("cloud.toml"), "[limits]\nconnections = \"many\"\n").unwrap();
    for command in [&["serve"][..], &["account", "list"], &["device", "list"]] {
        let output = run(folder.path(), &[command, &["--config", "cloud.toml"]].concat());
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(
            stderr(&output),
            "fedecks-cloud: cloud.toml, line 2: limits.connections: invalid type: string \"many\", \
             expected u32\n"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_and_has_exit_code_78() {
    let folder = folder();
    let output = run(folder.path(), &["serve", "--config", "missing.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(
        stderr(&output),
        "fedecks-cloud: cannot read the configuration missing.toml: No such file or directory (os \
         error 2)\n"
    );
}

#[test]
fn certificate_files_that_cannot_be_read_are_named_and_have_exit_code_78() {
    let folder = folder();
    let output = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"])
        .env("FEDECKS_TLS_CERTIFICATE", "cert.pem")
        .env("FEDECKS_TLS_KEY", "key.pem")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("cannot read a PEM certificate from cert.pem"));
}

#[test]
fn a_short_secret_is_refused_with_exit_code_78_and_not_shown() {
    let folder = folder();
    let output = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"])
        .env("FEDECKS_SECRET", "hunter2")
        .env("FEDECKS_SALT", "the salt")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let complaint = stderr(&output);
    assert!(
        complaint.contains("FEDECKS_SECRET: secret: the secret has 7 characters"),
        "{complaint}"
    );
    assert!(!complaint.contains("hunter2"), "{complaint}");
}

#[test]
fn wrong_usage_has_exit_code_2_and_a_password_is_no_argument() {
    let folder = folder();
    for arguments in [&["serve", "--nonsense"][..], &["account", "add", "marvin", "secret42"], &[]]
    {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn accounts_are_added_listed_and_removed() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    add_account(folder.path(), "arthur", "forty-two");
    let listed = run(folder.path(), &["account", "list"]);
    let listed = stdout(&listed);
    let names: Vec<_> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["arthur", "marvin"]);
    assert!(listed.lines().all(|line| line.ends_with('Z')), "{listed}");

    let again = run_with_input(folder.path(), &["account", "add", "marvin"], "another one\n");
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again), "fedecks-cloud: the account \"marvin\" exists already\n");

    assert!(run(folder.path(), &["account", "remove", "marvin"]).status.success());
    let gone = run(folder.path(), &["account", "remove", "marvin"]);
    assert_eq!(gone.status.code(), Some(1));
    assert_eq!(stderr(&gone), "fedecks-cloud: there is no account \"marvin\"\n");
    assert_eq!(stdout(&run(folder.path(), &["account", "list"])).lines().count(), 1);
}

#[test]
fn a_bad_password_or_name_adds_no_account() {
    let folder = folder();
    let short = run_with_input(folder.path(), &["account", "add", "marvin"], "short\n");
    assert_eq!(short.status.code(), Some(1));
    assert!(stderr(&short).contains("the password has 5 characters, expected 8 to 1024"));
    let unnamed = run_with_input(folder.path(), &["account", "add", " "], "long enough\n");
    assert_eq!(unnamed.status.code(), Some(1));
    assert_eq!(stdout(&run(folder.path(), &["account", "list"])), "");
}

#[test]
fn a_signal_while_the_password_is_asked_for_gives_the_terminal_back() {
    let folder = folder();
    let pair = openpty(None, None).unwrap();
    let before = tcgetattr(&pair.slave).unwrap();
    let direct = program(folder.path(), &["account", "add", "marvin"]);
    // Makes the terminal that of a new session, so that Ctrl-C becomes a signal.
    let end = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut child = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .arg(direct.get_program())
        .args(direct.get_args())
        .current_dir(folder.path())
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let mut terminal = fs::File::from(pair.master);
    let mut screen = String::new();
    while !screen.contains("Password for marvin: ") {
        let mut chunk = [0; 256];
        let count = terminal.read(&mut chunk).unwrap();
        screen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    let hidden = tcgetattr(&pair.slave).unwrap();
    assert!(!hidden.local_flags.contains(LocalFlags::ECHO));
    // Ctrl-Z, which would leave the terminal as it is, and Ctrl-C.
    terminal.write_all(b"half\x1a\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let after = tcgetattr(&pair.slave).unwrap();
    assert_eq!(after.local_flags, before.local_flags);
    assert_eq!(after.control_chars, before.control_chars);
}

#[test]
fn what_is_kept_is_for_the_owner_only() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    let data = folder.path().join("fedecks-data");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let store = data.join("fedecks.sqlite");
    assert_eq!(fs::metadata(store).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn devices_are_revoked_and_listed() {
    let folder = folder();
    // Without a store the command was told the wrong place, and it makes none there.
    let nowhere = run(folder.path(), &["device", "revoke", "nerves-1"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("there is no store at"), "{}", stderr(&nowhere));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    add_account(folder.path(), "marvin", "long enough");
    let revoked = run(folder.path(), &["device", "revoke", "nerves-1"]);
    assert_eq!(stdout(&revoked), "nerves-1: its tokens are worthless now\n");
    let listed = run(folder.path(), &["device", "list"]);
    assert_eq!(stdout(&listed), "nerves-1\tnever\tnever\trevoked\t-\t-\n");
    let wrong = run(folder.path(), &["device", "revoke", "no id"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("a device id is made of"), "{}", stderr(&wrong));
}

#[test]
fn devices_are_labelled_blocked_and_forgotten_and_all_of_it_is_on_the_record() {
    let folder = folder();
    add_account(folder.path(), "marvin", "long enough");
    let done = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    assert_eq!(done(&["device", "block", "site-a-1"]), "site-a-1: now blocked\n");
    assert_eq!(done(&["device", "block", "site-a-1"]), "site-a-1: already blocked\n");
    assert_eq!(done(&["device", "label", "site-a-1", "Pump in the cellar"]), "");
    done(&["device", "revoke", "site-b-1"]);
    let listed = done(&["device", "list", "--devices", "site-a-*"]);
    let columns: Vec<_> = listed.trim_end().split('\t').collect();
    assert_eq!((columns[0], columns[3], columns[5]), ("site-a-1", "-", "Pump in the cellar"));
    assert!(columns[4].ends_with('Z'), "{listed}");
    assert_eq!(done(&["device", "list", "--blocked"]), listed);
    assert_eq!(done(&["device", "list", "--search", "CELLAR"]), listed);
    assert_eq!(done(&["device", "list"]).lines().count(), 2);

    let blocked = run(folder.path(), &["device", "forget", "site-a-1"]);
    assert_eq!(blocked.status.code(), Some(1));
    assert!(stderr(&blocked).contains("unblock it first"), "{}", stderr(&blocked));
    assert_eq!(done(&["device", "unblock", "site-a-1"]), "site-a-1: not blocked any more\n");
    assert_eq!(done(&["device", "forget", "site-a-1"]), "site-a-1: forgotten\n");
    assert_eq!(done(&["device", "list"]).lines().count(), 1);
    for command in [&["device", "forget", "site-a-1"][..], &["device", "label", "site-a-1", "x"]] {
        let unknown = run(folder.path(), command);
        assert_eq!(unknown.status.code(), Some(1));
        assert_eq!(stderr(&unknown), "fedecks-cloud: there is no device site-a-1\n");
    }
    let label = run(folder.path(), &["device", "label", "site-b-1", " spaces "]);
    assert!(stderr(&label).contains("a label has 1 to 128 characters"), "{}", stderr(&label));

    let log = done(&["audit", "list"]);
    let told: Vec<_> =
        log.lines().map(|line| line.split_once('\t').unwrap().1.to_owned()).collect();
    assert_eq!(
        told,
        [
            "cli\tdevice-forgotten\tsite-a-1\t-",
            "cli\tdevice-unblocked\tsite-a-1\t-",
            "cli\tdevice-revoked\tsite-b-1\t-",
            "cli\tdevice-labelled\tsite-a-1\tPump in the cellar",
            "cli\tdevice-blocked\tsite-a-1\t-",
            "cli\taccount-added\t-\tmarvin",
        ]
    );
    let of_one = done(&["audit", "list", "--device", "site-b-1", "--limit", "5"]);
    assert_eq!(of_one.lines().count(), 1);
}

#[test]
fn a_token_is_shown_once_and_listed_without_itself() {
    let folder = folder();
    let add = ["token", "add", "ci", "--role", "read", "--role", "send", "--devices", "site-*"];
    let added = run(folder.path(), &[&add[..], &["--expires", "90d"]].concat());
    assert!(added.status.success(), "{}", stderr(&added));
    let token = stdout(&added);
    assert!(token.starts_with("fdk_") && token.len() == 48, "{token}");
    let again = run(folder.path(), &add);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again), "fedecks-cloud: the API token \"ci\" exists already\n");

    let listed = stdout(&run(folder.path(), &["token", "list"]));
    assert!(listed.starts_with("ci\tread,send\tsite-*\t20"), "{listed}");
    assert!(listed.ends_with("Z\tnever\n"), "{listed}");
    let store = fs::read(folder.path().join("fedecks-data/fedecks.sqlite")).unwrap();
    let secret = token.trim_end().as_bytes();
    assert!(!store.windows(secret.len()).any(|part| part == secret), "only its hash is kept");

    for wrong in [
        &["token", "add", "x"][..],
        &["token", "add", "x", "--role", "owner"],
        &["token", "add", "x", "--role", "read", "--devices", "a/b"],
        &["token", "add", "x", "--role", "read", "--expires", "soon"],
    ] {
        assert_eq!(run(folder.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert!(run(folder.path(), &["token", "revoke", "ci"]).status.success());
    let gone = run(folder.path(), &["token", "revoke", "ci"]);
    assert_eq!(stderr(&gone), "fedecks-cloud: there is no API token \"ci\"\n");
    assert_eq!(stdout(&run(folder.path(), &["token", "list"])), "");
}

#[test]
fn a_backup_made_while_the_server_runs_is_restored_while_it_runs() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    let server = Server::start(program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]));
    let done = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    };
    done(&["device", "block", "before"]);
    done(&["backup", "copy.sqlite"]);
    let mode = fs::metadata(folder.path().join("copy.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = run(folder.path(), &["backup", "copy.sqlite"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already exists"), "{}", stderr(&again));

    done(&["account", "remove", "marvin"]);
    done(&["device", "unblock", "before"]);
    let (_, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    done(&["restore", "copy.sqlite"]);
    let (_, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let (_, head) = server.login("before", "marvin", "don't panic");
        if head.contains("x-fedecks-refusal: blocked\r\n") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{head}");
    }
    assert!(folder.path().join("fedecks-data/fedecks.sqlite.replaced").exists());
}

#[test]
fn a_generated_secret_is_random_and_good_for_a_server() {
    let folder = folder();
    let generate = || stdout(&run(folder.path(), &["secret", "generate"]));
    let (one, other) = (generate(), generate());
    assert_ne!(one, other);
    let variables: Vec<_> = one.lines().map(|line| line.split_once('=').unwrap()).collect();
    assert_eq!(
        variables.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["FEDECKS_SECRET", "FEDECKS_SALT"]
    );
    fedecks_cloud::Keyring::new(variables[0].1, variables[1].1).unwrap();
    assert!(!folder.path().join("fedecks-data").exists());
}

#[test]
fn a_server_tells_its_address_and_ends_well_when_told_to_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = folder();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--ready-file", "ready"];
        let mut server = Server::start(program(folder.path(), &arguments));
        server.line_with("ready");
        let ready = fs::read_to_string(folder.path().join("ready")).unwrap();
        assert_eq!(ready, format!("{}\n", server.address));

        let mut stream = server.connect();
        stream.write_all(b"GET /nothing-here HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");

        server.signal(signal);
        let (code, log) = server.ended();
        assert_eq!(code, Some(0), "{log:#?}");
    }
}

#[test]
fn a_second_signal_ends_the_server_at_once_and_it_says_so() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    let mut server = Server::start(program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]));
    // A device that does not answer the close frame is waited for.
    let (_open, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    server.signal(Signal::SIGTERM);
    server.line_with("stopping");
    let told = std::time::Instant::now();
    server.signal(Signal::SIGINT);
    let (code, log) = server.ended();
    assert_eq!(code, Some(1), "{log:#?}");
    assert!(told.elapsed() < Duration::from_secs(4), "{:?}", told.elapsed());
    let last = log.last().map(String::as_str);
    let expected = "fedecks-cloud: stopped at once by a second signal, SIGINT: what was still \
                    connected is cut off";
    assert_eq!(last, Some(expected));
}

#[test]
fn each_listener_serves_its_part_and_a_balancer_is_believed() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    let configuration = "
        secret = \"0123456789abcdef0123456789abcdef\"
        salt = \"the salt\"
        trusted_proxies = [\"127.0.0.1\"]
        [[listener]]
        address = \"127.0.0.1:0\"
        serves = [\"devices\"]
        [[listener]]
        address = \"127.0.0.1:0\"
        serves = [\"api\", \"metrics\"]
        [limits]
        failed_logins_per_address = 2
    ";
    fs::write(folder.path().join("cloud.toml"), configuration).unwrap();
    let command =
        program(folder.path(), &["serve", "--config", "cloud.toml", "--ready-file", "ready"]);
    let mut server = Server::start(command);
    server.line_with("ready");
    let ready = fs::read_to_string(folder.path().join("ready")).unwrap();
    let elsewhere: SocketAddr = ready.lines().nth(1).unwrap().parse().unwrap();
    let guess = |server: &Server, client: &str, password: &str| {
        let forwarded = format!("x-forwarded-for: {client}\r\n");
        server.login_with("nerves-1", "marvin", password, &forwarded).1
    };
    assert!(guess(&server, "203.0.113.5", "wrong one").starts_with("HTTP/1.1 401 "));
    assert!(guess(&server, "203.0.113.5", "wrong two").starts_with("HTTP/1.1 401 "));
    let refused = guess(&server, "203.0.113.5", "don't panic");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("x-fedecks-refusal: rate-limited\r\n"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(guess(&server, "203.0.113.6", "don't panic").starts_with("HTTP/1.1 101 "));

    server.address = elsewhere;
    assert!(guess(&server, "203.0.113.6", "don't panic").starts_with("HTTP/1.1 404 "));
}

#[test]
fn an_address_that_is_taken_ends_the_server_with_exit_code_1() {
    let folder = folder();
    let server = Server::start(program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]));
    let address = server.address.to_string();
    let second = run(folder.path(), &["serve", "--listen", &address]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains(&format!("cannot listen on {address}: ")));
}

#[test]
fn an_account_that_is_added_while_the_server_runs_can_log_in_at_once() {
    let folder = folder();
    let server = Server::start(program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]));
    let (_, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(head.contains("x-fedecks-refusal: bad-credentials\r\n"), "{head}");

    add_account(folder.path(), "marvin", "don't panic\n");
    let (_, head) = server.login("nerves-1", "marvin", "don't panic!");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let (mut open, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");

    // A stopping server asks its devices to come back later, and waits until they are gone.
    server.signal(Signal::SIGTERM);
    until_close_frame(&mut open, 1012);
    drop(open);
    let (code, log) = server.ended();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(log.iter().all(|line| !line.contains("panic")), "{log:#?}");
    let listed = stdout(&run(folder.path(), &["device", "list"]));
    assert!(listed.starts_with("nerves-1\t20"), "{listed}");
}

#[test]
fn revoking_a_device_ends_its_connection_in_the_running_server() {
    let folder = folder();
    add_account(folder.path(), "marvin", "don't panic\n");
    let server = Server::start(program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]));
    let (mut open, head) = server.login("nerves-1", "marvin", "don't panic");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(run(folder.path(), &["device", "revoke", "nerves-1"]).status.success());
    until_close_frame(&mut open, 4401);
}

#[test]
fn a_self_signed_server_is_trusted_by_its_own_authority() {
    let folder = folder();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--self-signed"];
    let server = Server::start(program(folder.path(), &arguments));
    let mut roots = rustls::RootCertStore::empty();
    let authority = folder.path().join("fedecks-data/self-signed/ca.pem");
    let pem = fs::read(authority).unwrap();
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for name in ["localhost", "127.0.0.1"] {
        let name = name.to_owned().try_into().unwrap();
        let client = rustls::ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = rustls::StreamOwned::new(client, server.connect());
        stream.write_all(b"GET /nothing-here HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
    }
}

/// The certificate that a server shows, whoever issued it.
fn certificate_of(server: &Server) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    struct Anybody;
    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = server.connect();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    client.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn certificates_are_read_anew_by_sighup_and_when_a_file_changes_and_systemd_is_told() {
    let folder = folder();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim_end().to_owned()
    };
    let put = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    };
    let change = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        put("k.pem", &made.key_pair.serialize_pem());
        put("c.pem", &made.cert.pem());
        made.cert.der().clone()
    };
    let first = change();
    let mut command = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("FEDECKS_TLS_CERTIFICATE", "c.pem")
        .env("FEDECKS_TLS_KEY", "k.pem")
        .env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut server = Server::start(command);
    assert!(told().starts_with("READY=1\n"));
    assert_eq!(certificate_of(&server), first);

    // By itself, some time later.
    let second = change();
    server.line_with("using the certificate as it is now");
    assert_eq!(certificate_of(&server), second);

    // What cannot be used is named, and the one before goes on.
    put("c.pem", "nothing");
    server.signal(Signal::SIGHUP);
    let line = server.line_with("going on with the certificate as it was before");
    assert!(line.contains("cannot read a PEM certificate from c.pem"), "{line}");
    let begun = told();
    let time = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{begun}");
    assert_eq!(told(), "READY=1");
    assert_eq!(certificate_of(&server), second);

    let third = change();
    server.signal(Signal::SIGHUP);
    server.line_with("using the certificate as it is now");
    assert_eq!(certificate_of(&server), third);
}

#[test]
fn a_server_without_a_free_file_descriptor_goes_on_once_there_is_one() {
    let folder = folder();
    let mut limited = Command::new("/bin/sh");
    limited
        .env_clear()
        .current_dir(folder.path())
        .args(["-c", "ulimit -n 32 && exec \"$0\" serve --listen 127.0.0.1:0"])
        .arg(env!("CARGO_BIN_EXE_fedecks-cloud"));
    let mut server = Server::start(limited);
    let clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    server.line_with("cannot accept connections, trying again");
    drop(clients);
    let mut stream = server.connect();
    stream.write_all(b"GET /nothing-here HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let folder = folder();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut command = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let server = Server::start(command);
    assert_eq!(told().trim_end(), format!("READY=1\nSTATUS=listening on {}", server.address));
    server.signal(Signal::SIGTERM);
    assert_eq!(
        told().trim_end(),
        "STOPPING=1\nSTATUS=draining connections\nEXTEND_TIMEOUT_USEC=55000000"
    );
    assert_eq!(server.ended().0, Some(0));
}

#[test]
fn the_log_can_be_json() {
    let folder = folder();
    let mut command = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command.env("FEDECKS_LOG_FORMAT", "json").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("{\"timestamp\":\"20"), "{line}");
    assert!(line.contains("\"level\":\"INFO\""), "{line}");
}
