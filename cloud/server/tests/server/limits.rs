//! The table of limits in docs/cloud.md against the configuration and the server.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use fedecks_store::Role;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::{until, within};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Server, metrics, problem, sample};

const MANUAL: &str = include_str!("../../../../docs/cloud.md");
const EXAMPLE: &str = include_str!("../../../cloud.example.toml");

/// Keys that bound nothing that others can make the server keep or do.
const NO_LIMITS: &[&str] = &[
    "cluster.name",
    "cluster.nats",
    "cluster.nats_ca_file",
    "cluster.nats_credentials_file",
    "cluster.nats_password_file",
    "cluster.nats_user",
    "cluster.prefix",
    "data_dir",
    "drain.spread",
    "listen",
    "log.format",
    "log.level",
    "path",
    "registration.may_reregister",
    "salt",
    "salt_file",
    "secret",
    "secret_file",
    "sessions.heartbeat",
    "store",
    "store_password_file",
    "tls.certificate",
    "tls.key",
    "tls.self_signed",
    "tokens.lifetime",
    "tokens.refresh",
    "trusted_proxies",
    "webhook.ca_file",
    "webhook.devices",
    "webhook.kinds",
    "webhook.name",
    "webhook.secret_file",
    "webhook.url",
];

/// What meets a limit in a server.
type Case = fn() -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! cases {
    ($($key:literal: $function:ident,)+) => {
        &[$(($key, || Box::pin($function())),)+]
    };
}

const CASES: &[(&str, Case)] = cases! {
    "limits.connections": connections,
    "limits.connections_per_address": connections_per_address,
    "limits.handshake": handshake,
    "limits.http_idle": http_idle,
    "limits.request_body": request_body,
    "limits.request_head": request_head,
    "limits.request_bytes": request_bytes,
    "limits.request_bytes_per_token": request_bytes_per_token,
    "limits.request_bytes_per_address": request_bytes_per_address,
    "sessions.max_frame": max_frame,
    "sessions.max_decoded_by_device": max_decoded_by_device,
    "sessions.bytes_per_second": bytes_per_second,
    "sessions.byte_burst": bytes_per_second,
    "sessions.received_bytes": received_bytes,
    "sessions.idle_timeout": idle_timeout,
    "events.streams": streams,
};

/// Keys that are tested elsewhere: file and test.
const ELSEWHERE: &str = "
limits.accepts_per_second server/tests/server/storm.rs all_devices_reconnect_at_the_accept_rate_with_their_tokens
limits.accept_burst server/tests/server/storm.rs all_devices_reconnect_at_the_accept_rate_with_their_tokens
limits.failed_logins_per_address server/tests/server/api.rs wrong_tokens_are_rate_limited_and_the_right_one_is_not
limits.failed_logins_per_account gateway/src/auth/failed_logins/mod.rs the_wait_doubles_with_every_failure_up_to_15_minutes
sessions.max_header gateway/tests/sessions/refusals.rs a_header_above_the_limit_is_refused_with_431
sessions.max_decoded ../protocol/tests/allocation.rs what_exceeds_the_budget_is_refused_before_it_is_allocated
sessions.messages_per_second gateway/tests/sessions/rate_limit.rs a_burst_passes_at_once_and_the_rest_at_the_limit
sessions.message_burst gateway/tests/sessions/rate_limit.rs a_burst_passes_at_once_and_the_rest_at_the_limit
sessions.queue_messages gateway/src/connection/mailbox.rs items_and_bytes_are_bounded
sessions.queue_bytes gateway/src/connection/mailbox.rs items_and_bytes_are_bounded
sessions.queued_bytes gateway/src/connection/mailbox.rs all_mailboxes_share_a_sum
sessions.token_grace gateway/tests/sessions/tokens.rs a_token_later_than_the_grace_has_expired
events.keep server/src/events/reader.rs a_reader_that_missed_events_gets_a_gap_first
events.keep_bytes server/src/events/reader.rs bytes_are_bounded_too_and_the_latest_event_is_always_kept
events.streams_per_token server/tests/server/event_floods.rs one_token_does_not_take_all_event_streams
webhook.in_flight_bytes server/tests/server/webhooks.rs bodies_in_flight_are_bounded_in_bytes
webhook.keep store/src/conformance/queue.rs the_oldest_are_dropped_unless_they_are_reserved
webhook.keep_bytes server/tests/server/webhooks.rs the_oldest_events_are_dropped_beyond_the_limit_in_bytes
webhook.max_age server/tests/server/webhooks.rs a_receiver_that_never_answers_does_not_slow_devices_down
webhook.timeout server/tests/server/webhooks.rs a_receiver_that_never_answers_does_not_slow_devices_down
webhook.concurrency server/tests/server/webhooks.rs a_receiver_that_never_answers_does_not_slow_devices_down
audit.keep store/src/sqlite/audit_tests.rs no_class_displaces_the_lines_of_another
audit.keep_for store/src/sqlite/audit_tests.rs old_lines_expire_by_class_but_the_newest_stays
audit.logins_keep store/src/sqlite/audit_tests.rs no_class_displaces_the_lines_of_another
audit.logins_keep_for store/src/sqlite/audit_tests.rs old_lines_expire_by_class_but_the_newest_stays
audit.refusals_keep store/src/sqlite/audit_tests.rs no_class_displaces_the_lines_of_another
audit.refusals_keep_for store/src/sqlite/audit_tests.rs old_lines_expire_by_class_but_the_newest_stays
audit.messages_keep store/src/sqlite/audit_tests.rs no_class_displaces_the_lines_of_another
audit.messages_keep_for store/src/sqlite/audit_tests.rs old_lines_expire_by_class_but_the_newest_stays
log.queue_bytes ../common/src/log/queue.rs lines_that_do_not_fit_are_dropped_and_counted
log.lines_per_second server/tests/cli/logs.rs lines_that_strangers_cause_are_limited_and_summed
log.line_burst server/tests/cli/logs.rs lines_that_strangers_cause_are_limited_and_summed
drain.deadline server/tests/cli/serving.rs a_server_reports_its_address_and_stops_on_signals";

/// The rows of the table: key and default.
fn rows() -> Vec<(&'static str, &'static str)> {
    let (_, table) = MANUAL.split_once("\n## Limits\n").unwrap();
    let (table, _) = table.split_once("\n### Fixed bounds\n").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let [_, key, default, _] = cells[..] else { panic!("{row}") };
        (key.trim_matches('`'), default)
    })
    .collect()
}

/// The keys of the example, with their defaults.
fn example() -> Vec<(String, String)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((key, value)) =
            line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
        {
            keys.push((format!("{section}{key}"), value.trim_matches('"').to_owned()));
        }
    }
    keys
}

/// A default of the table as the example has it.
fn as_in_the_example(default: &str) -> String {
    let units = [("KiB", 1024), ("MiB", 1024 * 1024), ("GiB", 1024 * 1024 * 1024), ("", 1)];
    let (number, unit) = default.split_once(' ').unwrap_or((default, ""));
    match units.into_iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => (number.replace(',', "").parse::<u64>().unwrap() * factor).to_string(),
        None => format!("{number}{unit}"),
    }
}

#[test]
fn the_table_has_every_limit_with_its_default_and_a_test() {
    let cloud = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (rows, example) = (rows(), example());
    for (key, default) in &rows {
        let set = example.iter().find(|(known, _)| known == key);
        let (_, value) = set.unwrap_or_else(|| panic!("{key} is not in the configuration"));
        assert_eq!(as_in_the_example(default), *value, "{key}");
    }
    let mut tested: Vec<_> = CASES.iter().map(|(key, _)| *key).collect();
    for line in ELSEWHERE.trim().lines() {
        let [key, file, test] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let text = std::fs::read_to_string(cloud.join(file)).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "{key}: {test} is not in {file}");
        tested.push(key);
    }
    let listed: BTreeSet<_> = rows.iter().map(|(key, _)| *key).collect();
    assert_eq!(listed.len(), rows.len(), "a key has two rows");
    let tested: BTreeSet<_> = tested.into_iter().collect();
    assert_eq!(listed, tested, "rows and tests differ");
    for (key, _) in &example {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        if ["listener", "previous_key"].contains(&section) || name == "secret" {
            continue;
        }
        let is_limit = listed.contains(&**key);
        assert!(
            is_limit != NO_LIMITS.contains(&&**key),
            "{key}: is it a limit? then it needs a row"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_limit_is_met_as_the_table_says() {
    for (key, case) in CASES {
        println!("{key}");
        within(case()).await;
    }
}

/// Sends bytes on a new connection.
async fn send(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may have closed it.
    let _ = stream.write_all(bytes).await;
    stream
}

/// What the server sends until it closes the connection.
async fn received(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it too.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).unwrap()
}

/// What a third connection receives, while the others are not affected.
async fn third_connection(lines: &str) -> String {
    let server = Server::with(lines).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(send(&server, b"GET /healthz HTTP/1.1\r\n").await);
    }
    let rest = b"host: x\r\nconnection: close\r\n\r\n";
    let third = [&b"GET /healthz HTTP/1.1\r\n"[..], rest].concat();
    let answer = received(&mut send(&server, &third).await).await;
    for stream in &mut open {
        stream.write_all(rest).await.unwrap();
        assert!(received(stream).await.starts_with("HTTP/1.1 200"));
    }
    answer
}

async fn connections() {
    let answer = third_connection("[limits]\nconnections = 2").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

async fn connections_per_address() {
    assert_eq!(third_connection("[limits]\nconnections_per_address = 2").await, "");
}

async fn handshake() {
    let server = Server::with("[limits]\nhandshake = \"300ms\"").await;
    for head in [&b""[..], b"GET / HTTP/1.1\r\n"] {
        let start = Instant::now();
        let answer = received(&mut send(&server, head).await).await;
        assert!(answer.is_empty(), "{answer}");
        assert!((300..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }
}

async fn http_idle() {
    let server = Server::with("[limits]\nhttp_idle = \"300ms\"").await;
    let start = Instant::now();
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(received(&mut send(&server, request).await).await.starts_with("HTTP/1.1 200 "));
    assert!((300..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

/// The head of a request that sends a message.
fn head(token: &str, length: usize) -> Vec<u8> {
    format!(
        "POST /api/v1/devices/a/raw-messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

async fn request_body() {
    let server = Server::with("[limits]\nrequest_body = \"300ms\"").await;
    let start = Instant::now();
    let answer =
        received(&mut send(&server, &head(&server.token(&[Role::Send]).await, 10)).await).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 422"), "{answer}");
    assert!((300..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

async fn request_head() {
    let server = Server::with("[limits]\nrequest_head = 8192").await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(9000));
    let answer = received(&mut send(&server, head.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// Holds a request with a body of 600 kB open with the first token, and returns what one with the second gets.
async fn second_request(lines: &str, same_token: bool) -> String {
    let server = Server::with(lines).await;
    let first = server.token(&[Role::Send]).await;
    let other = if same_token { first.clone() } else { server.token(&[Role::Send]).await };
    let held = send(&server, &head(&first, 600_000)).await;
    let admin = server.http_as(Role::ALL).await;
    until(async || {
        let taken = sample(&metrics(&admin).await, "fedecks_requests_held_bytes");
        (taken >= 600_000.0).then_some(())
    })
    .await;
    let body = [head(&other, 600_000), vec![0; 600_000]].concat();
    let mut stream = send(&server, &body).await;
    let mut answer = vec![0; 8192];
    let length = within(stream.read(&mut answer)).await.unwrap_or_default();
    let answer = String::from_utf8(answer[..length].to_vec()).unwrap();
    // What needs no body is served, and everything once the first has ended.
    assert_eq!(admin.get("/api/v1/devices").await.status, StatusCode::OK);
    let account = admin.clone().json().ask(http::Method::PUT, "/api/v1/accounts/new", "{}").await;
    assert_eq!(problem(&account), "422 invalid-body");
    drop(held);
    admin.token(&other).until_status("/api/v1/token", StatusCode::OK).await;
    assert!(answer.contains("\r\nretry-after: 2\r\n"), "{answer}");
    answer
}

async fn request_bytes() {
    let lines = "[limits]\nrequest_bytes = 1200000";
    let answer = second_request(lines, false).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"overloaded\""), "{answer}");
    assert!(answer.contains("limits.request_bytes allows"), "{answer}");
}

async fn request_bytes_per_token() {
    let lines = "[limits]\nrequest_bytes_per_token = 1100000";
    let answer = second_request(lines, true).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("\"too-much-at-once\""));
    assert!(answer.contains("limits.request_bytes_per_token allows"), "{answer}");
}

async fn request_bytes_per_address() {
    let lines = "[limits]\nrequest_bytes_per_address = 1100000";
    let answer = second_request(lines, false).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("\"too-much-at-once\""));
    assert!(answer.contains("limits.request_bytes_per_address allows"), "{answer}");
}

async fn max_frame() {
    let server = Server::with("[sessions]\nmax_frame = 2000").await;
    let mut device = RawDevice::connect(server.address, "a").await;
    let http =
        server.http_as(&[Role::Send]).await.header("content-type", "application/octet-stream");
    let answer = http.post("/api/v1/devices/a/raw-messages", vec![0; 2001]).await;
    assert_eq!(problem(&answer), "413 body-too-big");
    device.send_bytes(vec![0; 2001]).await;
    assert_eq!(device.closed().await.code.code(), 1009);
}

/// A list that takes 4 bytes of JSON and 32 of memory for each element.
async fn max_decoded_by_device() {
    let server = Server::with("[sessions]\nmax_decoded_by_device = 65536").await;
    let _device = RawDevice::connect(server.address, "a").await;
    let http = server.http_as(&[Role::Send]).await.json();
    for count in [3000, 100_000] {
        let list = format!("[{}0]", "123,".repeat(count));
        let answer = http.post("/api/v1/devices/a/messages", list).await;
        assert_eq!(problem(&answer), "413 message-too-big", "{count}");
    }
}

async fn bytes_per_second() {
    let lines =
        "[sessions]\nmessages_per_second = 0\nbytes_per_second = 100000\nbyte_burst = 100000";
    let server = Server::with(lines).await;
    let mut device = RawDevice::connect(server.address, "a").await;
    let start = Instant::now();
    // The burst, and a second more.
    for _ in 0..2 {
        device.send_bytes(vec![9; 100_000]).await;
    }
    device.ping().await;
    let took = start.elapsed();
    assert!((950..3000).contains(&took.as_millis()), "{took:?}");
}

/// A frame that announces 100,000 bytes, without the last one.
fn unfinished() -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend_from_slice(&100_000_u64.to_be_bytes());
    frame.extend_from_slice(&[0; 4 + 99_999]);
    frame
}

async fn received_bytes() {
    let lines = "[sessions]\nmax_frame = 100000\nreceived_bytes = 400000";
    let server = Server::with(lines).await;
    let mut holders = Vec::new();
    for index in 0..4 {
        let device = RawDevice::connect(server.address, &format!("slow-{index}")).await;
        let mut stream = device.ws.into_inner();
        within(stream.write_all(&unfinished())).await.unwrap();
        holders.push(stream);
    }
    let mut small = RawDevice::connect(server.address, "small").await;
    small.send_bytes(vec![9; 4096]).await;
    small.ping().await;
    let mut device = RawDevice::connect(server.address, "waiting").await;
    device.send_bytes(vec![9; 100_000]).await;
    let early = tokio::time::timeout(Duration::from_secs(1), device.ping()).await;
    assert!(early.is_err(), "it does not wait");
    holders[0].write_all(&[0]).await.unwrap();
    // The pong of the ping above.
    let pong = within(device.message()).await;
    assert!(pong.is_pong(), "{pong:?}");
}

async fn idle_timeout() {
    let server = Server::with("[sessions]\nheartbeat = \"1s\"\nidle_timeout = \"2s\"").await;
    let mut device = RawDevice::connect(server.address, "a").await;
    assert_eq!(device.closed().await.code.code(), 1001);
}

async fn streams() {
    let server = Server::with("[events]\nstreams = 1").await;
    let http = server.http_as(&[Role::Read]).await;
    let _stream = http.events("/api/v1/events").await;
    assert_eq!(problem(&http.get("/api/v1/events").await), "503 too-many-streams");
}
