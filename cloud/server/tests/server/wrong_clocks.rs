//! The program with a clock that is wrong for a while. "Right" is a time 100 days from now: so the past
//! can be later than the build, as on a server whose program is old.

use std::time::Duration;

use fedecks_protocol::{DownFrame, IssuedToken, Proof, Token};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::{Device, credentials};
use fedecks_testing::http::Http;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::until_every;
use fedecks_testing::wall_clock::{DAY, WallClock};
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use nix::sys::signal::Signal;

use crate::support::{METRICS, PROGRAM, metrics, problem, sample};

const RIGHT: i64 = 100 * DAY;

/// A server with this clock and one account.
async fn start(clock: &WallClock, lines: &str) -> CloudProcess {
    let program = clock.of(CloudProgram::configured(PROGRAM, lines));
    program.add_account(USER, PASSWORD).await;
    program.serve(&[]).await
}

/// Stops the server, sets the clock and starts it again.
async fn restart(server: &mut CloudProcess, clock: &WallClock, shift: i64, synchronized: bool) {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().await, Some(0));
    clock.set(shift, synchronized);
    server.start_again().await;
}

/// Logs in and takes the token; or the status, the reason and whether there is `Retry-After`.
async fn log_in(server: &CloudProcess, id: &str) -> Result<Token, String> {
    let proof = Proof::Credentials(credentials(USER, PASSWORD));
    let mut device = dial(server, id, proof).await?;
    Ok(issued(&mut device).await.token)
}

async fn dial(server: &CloudProcess, id: &str, proof: Proof) -> Result<RawDevice, String> {
    let mut device = RawDevice::dial(server.address, id, proof).await.map_err(|refused| {
        let retry = refused.headers.get("retry-after").is_some();
        format!("{} {} {retry}", refused.status, refused.reason.unwrap_or_default())
    })?;
    device.welcome().await;
    Ok(device)
}

async fn issued(device: &mut RawDevice) -> IssuedToken {
    let frame = device.frame().await;
    let DownFrame::Token(issued) = frame else { panic!("expected a token: {frame:?}") };
    issued
}

const REFUSED: &str = "503 unavailable true";

#[tokio::test]
async fn a_clock_ahead_for_one_restart_costs_no_login() {
    let clock = WallClock::new();
    clock.set(RIGHT, true);
    let mut server = start(&clock, "").await;
    let mut device = server.device("kitchen-1").await;
    restart(&mut server, &clock, RIGHT + 40 * DAY, false).await;
    device.until_connected().await;
    server.logs("accepted a token that has expired").await;
    let while_ahead = log_in(&server, "cellar-1").await.unwrap();
    restart(&mut server, &clock, RIGHT, true).await;
    // By the token that was sealed in the future.
    device.until_connected().await;
    dial(&server, "cellar-1", Proof::Token(while_ahead)).await.unwrap();
    assert_eq!(server.log().matches("by=credentials").count(), 2, "{}", server.log());
}

#[tokio::test]
async fn below_the_floor_no_device_is_admitted_and_nothing_is_sealed() {
    let clock = WallClock::new();
    clock.set(RIGHT, true);
    let mut server = start(&clock, METRICS).await;
    let known = log_in(&server, "kitchen-1").await.unwrap();
    restart(&mut server, &clock, RIGHT - 40 * DAY, false).await;
    let monitoring = Http::to(server.addresses()[1]);
    assert_eq!(log_in(&server, "cellar-1").await.unwrap_err(), REFUSED);
    let by_token = dial(&server, "kitchen-1", Proof::Token(known.clone())).await;
    assert_eq!(by_token.unwrap_err(), REFUSED);
    let ready = server.http().get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.text(), r#"{"ready":false,"store":"ok","clock":"behind"}"#);
    let behind = sample(&metrics(&monitoring).await, "fedecks_clock_behind_seconds");
    assert!((39.0 * 86400.0..41.0 * 86400.0).contains(&behind), "{behind}");
    let line = server.logs("the clock is behind").await;
    assert!(line.contains("fedecks-cloud clock accept"), "{line}");

    // NTP sets the clock right while the server runs.
    clock.set(RIGHT, true);
    assert_eq!(server.http().get("/readyz").await.status, StatusCode::OK);
    dial(&server, "kitchen-1", Proof::Token(known)).await.unwrap();
    log_in(&server, "cellar-1").await.unwrap();
    server.logs("the clock is not behind any more").await;
    let text = metrics(&monitoring).await;
    assert_eq!(sample(&text, "fedecks_clock_behind_seconds"), 0.0);
    assert_eq!(sample(&text, "fedecks_clock_synchronized"), 1.0);
}

#[tokio::test]
async fn a_device_registered_in_the_past_returns_after_ntp() {
    // Nothing is stored yet, and the time is later than the build: it cannot be known to be wrong.
    let clock = WallClock::new();
    clock.set(RIGHT - 40 * DAY, false);
    let mut server = start(&clock, "").await;
    let mut device = server.device("kitchen-1").await;
    clock.set(RIGHT, true);
    device.client.reconnect().await.unwrap();
    device.until_connected().await;
    restart(&mut server, &clock, RIGHT, true).await;
    device.until_connected().await;
    assert_eq!(server.log().matches("by=credentials").count(), 1, "{}", server.log());
}

#[tokio::test]
async fn a_floor_from_a_clock_that_was_ahead_can_be_reset() {
    let clock = WallClock::new();
    clock.set(RIGHT + 40 * DAY, true);
    let mut server = start(&clock, "").await;
    restart(&mut server, &clock, RIGHT, true).await;
    assert_eq!(log_in(&server, "kitchen-1").await.unwrap_err(), REFUSED);
    let shown = server.program.run(&["clock", "show"], "").await;
    assert!(shown.contains("behind: "), "{shown}");
    let by_days = ["token", "add", "ci", "--role", "read", "--expires", "5d"];
    let error = server.program.fails(&by_days, 1).await;
    assert!(error.contains("an end cannot be counted from a wrong time"), "{error}");
    let accepted = server.program.run(&["clock", "accept"], "").await;
    for text in ["clock: ", "floor: ", "behind: ", "the floor is "] {
        assert!(accepted.contains(text), "{accepted}");
    }
    let ready = async || {
        let status = server.http().get("/readyz").await.status;
        (status == StatusCode::OK).then_some(())
    };
    until_every(Duration::from_millis(100), ready).await;
    log_in(&server, "kitchen-1").await.unwrap();
    let audited = server.program.run(&["audit", "list"], "").await;
    assert!(audited.contains("clock-accepted"), "{audited}");
    restart(&mut server, &clock, RIGHT, false).await;
    log_in(&server, "cellar-1").await.unwrap();

    let again = server.program.run(&["clock", "accept"], "").await;
    assert!(again.ends_with("nothing to accept\n"), "{again}");
    clock.set(-10_000 * DAY, false);
    let error = server.program.fails(&["clock", "accept"], 1).await;
    assert!(error.contains("but this program was built at"), "{error}");
}

#[tokio::test]
async fn a_damaged_floor_counts_as_missing_and_is_replaced() {
    let clock = WallClock::new();
    clock.set(RIGHT, true);
    let mut server = start(&clock, "").await;
    let floor = server.program.folder.path().join("fedecks-data/clock");
    let stored = std::fs::read(&floor).unwrap();
    server.kill().await;
    std::fs::write(&floor, &stored[..20]).unwrap();
    clock.set(RIGHT - 40 * DAY, false);
    server.start_again().await;
    server.logs("clock is damaged").await;
    log_in(&server, "kitchen-1").await.unwrap();
    restart(&mut server, &clock, RIGHT, true).await;
    assert_eq!(std::fs::read(&floor).unwrap().len(), stored.len());
}

#[tokio::test]
async fn a_clock_that_was_merely_set_stores_no_floor() {
    let clock = WallClock::new();
    clock.set(RIGHT + 40 * DAY, false);
    let mut server = start(&clock, "").await;
    log_in(&server, "kitchen-1").await.unwrap();
    restart(&mut server, &clock, RIGHT, false).await;
    log_in(&server, "kitchen-2").await.unwrap();
    assert!(!server.program.folder.path().join("fedecks-data/clock").exists());
}

/// Answers of `/api/v1/token` to a token that expires in 50 days, one in 200 and one that never does.
async fn ask(server: &CloudProcess, tokens: &[String]) -> Vec<String> {
    let mut answers = Vec::new();
    for token in tokens {
        let answer = server.http().token(token).get("/api/v1/token").await;
        let ok = answer.status == StatusCode::OK;
        answers.push(if ok { "200".to_owned() } else { problem(&answer) });
    }
    answers
}

async fn add_tokens(server: &CloudProcess) -> Vec<String> {
    let mut tokens = Vec::new();
    for (name, expires) in [("soon", Some("50d")), ("late", Some("200d")), ("never", None)] {
        let mut options = vec!["--role", "admin"];
        options.extend(expires.iter().flat_map(|expires| ["--expires", expires]));
        tokens.push(server.token(name, &options).await);
    }
    tokens
}

#[tokio::test]
async fn a_clock_behind_revives_no_expired_api_token() {
    let clock = WallClock::new();
    clock.set(RIGHT, true);
    let mut server = start(&clock, "").await;
    let tokens = add_tokens(&server).await;
    restart(&mut server, &clock, RIGHT + 60 * DAY, true).await;
    assert_eq!(ask(&server, &tokens).await, ["401 unauthorized", "200", "200"]);
    restart(&mut server, &clock, RIGHT + 40 * DAY, false).await;
    let answers = ask(&server, &tokens).await;
    assert_eq!(answers, ["401 unauthorized", "503 clock-behind", "200"]);
    let sign_in = format!("{{\"token\": {:?}}}", tokens[1]);
    let answer = server.http().json().post("/session", sign_in).await;
    assert_eq!(problem(&answer), "503 clock-behind");
    restart(&mut server, &clock, RIGHT + 60 * DAY, true).await;
    assert_eq!(ask(&server, &tokens).await, ["401 unauthorized", "200", "200"]);
}

#[tokio::test]
async fn a_clock_ahead_deletes_no_api_token_and_bars_no_caller() {
    let clock = WallClock::new();
    clock.set(RIGHT, true);
    let mut server = start(&clock, "").await;
    let tokens = add_tokens(&server).await;
    restart(&mut server, &clock, RIGHT + 60 * DAY, false).await;
    // More often than an address may present a wrong one.
    for _ in 0..20 {
        assert_eq!(ask(&server, &tokens).await, ["401 unauthorized", "200", "200"]);
    }
    let device = Device::start(server.address, "kitchen-1").await;
    device.try_login(USER, PASSWORD).await.unwrap();
    restart(&mut server, &clock, RIGHT, true).await;
    assert_eq!(ask(&server, &tokens).await, ["200", "200", "200"]);
}
