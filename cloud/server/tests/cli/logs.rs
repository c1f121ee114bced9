//! The log of the server: a reader that has stopped costs lines and nothing else, and a flood of strangers is
//! summed up.

use std::time::{Duration, Instant};

use fedecks_protocol::{CloseCode, Credentials, Proof};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::credentials;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::unread_log::UnreadLog;
use fedecks_testing::wait::until;
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use nix::sys::signal::Signal;

use crate::PROGRAM;

/// How long the server runs with a reader that has stopped.
const BLOCKED: Duration = Duration::from_secs(6);

/// A server whose log is read only when the test does, with an account and an API token.
async fn unread(log: &UnreadLog, queue_bytes: &str) -> (CloudProcess, String) {
    let program = CloudProgram::configured(PROGRAM, "");
    let program = program.variable("FEDECKS_LOG_QUEUE_BYTES", queue_bytes);
    program.add_account(USER, PASSWORD).await;
    let command = program.command(&["serve"]);
    let server = program.serve_logging_to(command, log.stderr()).await;
    let token = server.token("operator", &["--role", "read"]).await;
    (server, token)
}

#[tokio::test]
async fn a_reader_of_the_log_that_stops_stops_nothing_else() {
    let mut log = UnreadLog::new();
    let (server, token) = unread(&log, "16384").await;
    let (http, operator) = (server.http(), server.http().token(&token));
    let mut device = RawDevice::login(server.address, "nerves-1").await;
    log.fill();
    let began = Instant::now();
    while began.elapsed() < BLOCKED {
        let refused = RawDevice::dial(
            server.address,
            "nerves-2",
            Proof::Credentials(credentials(USER, PASSWORD)),
        );
        drop(refused.await.unwrap());
        assert_eq!(operator.get("/api/v1/token").await.status, StatusCode::OK);
        assert_eq!(http.get("/api/v1/token").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
        device.say("hello").await;
        device.ping().await;
    }
    server.program.run(&["device", "revoke", "nerves-1", "--allow-unknown"], "").await;
    assert_eq!(device.closed().await.code, CloseCode::Revoked);

    // It has to be more than the queue holds. The limit for strangers is 100 per second and kind.
    until(async || {
        operator.get("/api/v1/token").await;
        let metrics = operator.get("/metrics").await.text();
        (!metrics.contains("fedecks_log_lines_dropped_total 0\n")).then_some(())
    })
    .await;
    let mut text = String::new();
    until(async || {
        text += &log.read();
        text.contains("log lines, since the reader of standard error did not keep up").then_some(())
    })
    .await;
    let complete = text.rfind('\n').unwrap_or_default();
    // Every line is complete.
    for line in text[..complete].lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with("20"), "{line:?}");
    }
}

#[tokio::test]
async fn a_server_whose_log_is_not_read_starts_and_stops() {
    let log = UnreadLog::new();
    log.fill();
    let (mut server, _) = unread(&log, "1048576").await;
    assert_eq!(server.http().get("/healthz").await.status, StatusCode::OK);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().await, Some(0));
}

#[tokio::test]
async fn refused_requests_are_logged_with_their_route_or_path() {
    let program = CloudProgram::configured(PROGRAM, "");
    program.add_account(USER, PASSWORD).await;
    let mut server = program.serve(&[]).await;
    let http = server.http();
    for (path, expected) in [
        ("/api/v1/devices", "route=/devices status=401"),
        ("/api/v1/devises", "devises status=401"),
    ] {
        http.get(path).await;
        server.logs(expected).await;
    }
    let credentials = Credentials::new().with("user", USER).with("password", PASSWORD);
    let refused = RawDevice::dial(server.address, "kitchen-1", Proof::Credentials(credentials));
    assert_eq!(refused.await.unwrap_err().status, 401);
    server.logs("nor the texts username and password").await;
}

/// How long strangers send requests.
const FLOOD: Duration = Duration::from_secs(4);

#[tokio::test]
async fn lines_that_strangers_cause_are_limited_and_summed() {
    let program = CloudProgram::configured(PROGRAM, "")
        .variable("FEDECKS_LOG_LINES_PER_SECOND", "10")
        .variable("FEDECKS_LOG_LINE_BURST", "20");
    program.add_account(USER, PASSWORD).await;
    let mut server = program.serve(&[]).await;
    let before = server.log().len();
    let began = Instant::now();
    let long = "X".repeat(4000);
    let flood = async |number: u32| {
        let http = server.http();
        while began.elapsed() < FLOOD {
            match number {
                0 => drop(http.get("/api/v1/devices").await),
                1 => drop(http.clone().token("fdk_nonsense").get("/api/v1/devices").await),
                2 => drop(http.ask(long.parse().unwrap(), "/api/v1/devices", "").await),
                _ => {
                    let refused = RawDevice::dial_with(server.address, &[]);
                    assert_eq!(refused.await.unwrap_err().status, 400);
                }
            }
        }
    };
    tokio::join!(flood(0), flood(1), flood(2), flood(3));
    // A legitimate device is logged in the middle of that.
    let _device = server.device("kitchen-1").await;
    server.logs("device=kitchen-1").await;
    let text = server.log().split_off(before);
    let lines = text.lines().count();
    // Two kinds of lines, each with its burst and its rate, and a few others.
    assert!(lines < 2 * (20 + 10 * 6) + 20, "{lines} lines");
    assert!(text.len() < lines * 400, "{} bytes in {lines} lines", text.len());
    for kind in ["API request", "refused a connection"] {
        let told = format!("too many log lines of one kind, left some out kind={kind:?} count=");
        until(async || server.log().contains(&told).then_some(())).await;
    }
}
