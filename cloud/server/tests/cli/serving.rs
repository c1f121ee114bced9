//! How the server starts, what it reports, what running commands change in it, and how it stops.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fedecks_protocol::{AUTH_HEADER, CloseCode, Proof};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::credentials;
use fedecks_testing::raw_device::{RawDevice, Refused, SUBPROTOCOL, auth_header};
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::{LISTEN, PROGRAM, Systemd};

/// A server with the account of the tests.
async fn with_account() -> CloudProcess {
    let program = CloudProgram::new(PROGRAM);
    program.add_account(USER, PASSWORD).await;
    program.serve(&LISTEN).await
}

async fn login(server: &CloudProcess, password: &str) -> Result<RawDevice, Refused> {
    let proof = Proof::Credentials(credentials(USER, password));
    RawDevice::dial(server.address, "nerves-1", proof).await
}

#[tokio::test]
async fn a_server_reports_its_address_and_stops_on_signals() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = CloudProgram::new(PROGRAM).serve(&LISTEN).await;
        let line = server.logs("listening").await;
        assert!(line.contains(&format!("address={} ", server.address)), "{line}");
        server.logs("ready").await;
        let ready = fs::read_to_string(server.program.folder.path().join("ready")).unwrap();
        assert_eq!(ready, format!("{}\n", server.address));
        assert_eq!(server.http().get("/nothing").await.status, StatusCode::NOT_FOUND);
        server.signal(signal);
        assert_eq!(server.ended().await, Some(0), "{}", server.log());
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_server_immediately() {
    let mut server = with_account().await;
    // It does not answer the close frame, so the server waits for it.
    let _device = RawDevice::login(server.address, "nerves-1").await;
    server.signal(Signal::SIGTERM);
    server.logs("stopping").await;
    let signalled = Instant::now();
    server.signal(Signal::SIGINT);
    assert_eq!(server.ended().await, Some(1), "{}", server.log());
    assert!(signalled.elapsed() < Duration::from_secs(4), "{:?}", signalled.elapsed());
    let log = server.log();
    let expected = "fedecks-cloud: stopped immediately by a second signal, SIGINT: open connections \
                    were cut off";
    assert_eq!(log.lines().last(), Some(expected));
}

#[tokio::test]
async fn each_listener_serves_its_services_and_trusts_a_proxy() {
    let lines = "
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
    let server = CloudProcess::start(PROGRAM, lines).await;
    let [_, devices, api] = server.addresses()[..] else { panic!("{:?}", server.addresses()) };
    let login = async |address, client: &str, password: &str| {
        let header = auth_header("nerves-1", Proof::Credentials(credentials(USER, password)));
        let forwarded = ("x-forwarded-for", client);
        RawDevice::dial_with(address, &[(AUTH_HEADER, &header), SUBPROTOCOL, forwarded]).await
    };
    let (guesser, other) = ("203.0.113.5", "203.0.113.6");
    for guess in ["wrong one", "wrong two"] {
        assert_eq!(login(devices, guesser, guess).await.unwrap_err().status, 401);
    }
    let refused = login(devices, guesser, PASSWORD).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_deref()), (429, Some("rate-limited")));
    assert_eq!(refused.headers["retry-after"], "1");
    login(devices, other, PASSWORD).await.unwrap();
    assert_eq!(login(api, other, PASSWORD).await.unwrap_err().status, 404);
}

#[tokio::test]
async fn an_address_in_use_ends_the_server_with_exit_code_1() {
    let server = CloudProgram::new(PROGRAM).serve(&LISTEN).await;
    let address = server.address.to_string();
    let other = CloudProgram::new(PROGRAM);
    let error = other.fails(&["serve", "--listen", &address], 1).await;
    assert!(error.contains(&format!("cannot listen on {address}: ")), "{error}");
}

#[tokio::test]
async fn an_account_added_to_a_running_server_can_log_in() {
    let mut server = CloudProgram::new(PROGRAM).serve(&LISTEN).await;
    let refused = login(&server, PASSWORD).await.unwrap_err();
    assert_eq!((refused.status, refused.reason.as_deref()), (401, Some("bad-credentials")));

    server.program.add_account(USER, PASSWORD).await;
    assert_eq!(login(&server, "forty-two towels!").await.unwrap_err().status, 401);
    let mut device = login(&server, PASSWORD).await.unwrap();

    // A stopping server asks its devices to come back later, and waits until they are gone.
    server.signal(Signal::SIGTERM);
    assert_eq!(device.closed().await.code.code(), 1012);
    drop(device);
    assert_eq!(server.ended().await, Some(0), "{}", server.log());
    assert!(!server.log().contains("towels"), "{}", server.log());
    let listed = server.program.run(&["device", "list"], "").await;
    assert!(listed.starts_with("nerves-1\t20"), "{listed}");
}

#[tokio::test]
async fn revoking_a_device_closes_its_connection() {
    let server = with_account().await;
    let mut device = RawDevice::login(server.address, "nerves-1").await;
    server.program.run(&["device", "revoke", "nerves-1"], "").await;
    assert_eq!(device.closed().await.code, CloseCode::Revoked);
}

#[tokio::test]
async fn a_server_without_file_descriptors_recovers() {
    let program = CloudProgram::new(PROGRAM);
    let mut limited = Command::new("/bin/sh");
    limited
        .env_clear()
        .current_dir(program.folder.path())
        .args(["-c", "ulimit -n 32 && exec \"$0\" serve --listen 127.0.0.1:0 \"$@\"", PROGRAM])
        .kill_on_drop(true);
    let mut server = program.serve_by(limited).await;
    let clients: Vec<_> = (0..40).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    server.logs("cannot accept").await;
    drop(clients);
    assert_eq!(server.http().get("/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn systemd_is_notified_of_the_start_and_the_stop() {
    let (systemd, program) = Systemd::listen(CloudProgram::new(PROGRAM));
    let mut server = program.serve(&LISTEN).await;
    let ready = format!("READY=1\nSTATUS=listening on {}", server.address);
    assert_eq!(systemd.received(), ready);
    server.signal(Signal::SIGTERM);
    let stopping = "STOPPING=1\nSTATUS=draining connections\nEXTEND_TIMEOUT_USEC=60000000";
    assert_eq!(systemd.received(), stopping);
    assert_eq!(server.ended().await, Some(0));
}

#[tokio::test]
async fn the_log_can_be_json() {
    let program = CloudProgram::new(PROGRAM).variable("FEDECKS_LOG_FORMAT", "json");
    let line = program.serve(&LISTEN).await.logs("").await;
    assert!(line.starts_with("{\"timestamp\":\"20"), "{line}");
    assert!(line.contains("\"level\":\"INFO\""), "{line}");
}
