use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{
    Manager, Server, add_account, assert_answers, folder, program, run, stderr, stdout,
    until_close_frame,
};

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
        assert_answers(&mut stream);

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
    server.line_with("cannot accept connections, retrying");
    drop(clients);
    let mut stream = server.connect();
    assert_answers(&mut stream);
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let folder = folder();
    let manager = Manager::listen(folder.path());
    let mut command = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let server = Server::start(command);
    assert_eq!(manager.told(), format!("READY=1\nSTATUS=listening on {}", server.address));
    server.signal(Signal::SIGTERM);
    assert_eq!(
        manager.told(),
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
