//! Devices and readers that choose how much of their events the server keeps, and for how long: what that
//! costs the program in memory, on disk and in time.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use fedecks_protocol::{AUTH_HEADER, Dialect, Limits, Term, UpFrame};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::http::Http;
use fedecks_testing::raw_device::{RawDevice, SUBPROTOCOL, auth_header, fresh_token};
use fedecks_testing::wait::{until, until_every, within};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use warp::Filter;

use crate::support::{PROGRAM, problem};

const MIB: u64 = 1024 * 1024;

/// The attacks are measured one at a time.
static ATTACK: Mutex<()> = Mutex::const_new(());

/// How much memory an attack may cost here. In full, with a release build, it may cost 256 MiB.
const MEMORY: u64 = 160 * MIB;

/// How long what is critical for security may take meanwhile, besides what it takes anyway.
const CRITICAL: Duration = Duration::from_secs(1);

const WEBHOOK: &str =
    "kinds = [\"message\"]\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";

/// A field of `/proc/PID/status`, in bytes.
fn memory(server: &CloudProcess, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.unwrap().trim().strip_suffix(" kB").unwrap();
    number.parse::<u64>().unwrap() * 1024
}

/// A receiver that takes requests and never answers.
async fn silent_receiver() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

fn webhook(receiver: SocketAddr, more: &str) -> String {
    format!("[[webhook]]\nname = \"crm\"\nurl = \"http://{receiver}/\"\n{WEBHOOK}{more}")
}

/// The frame of a text of nearly 1 MiB whose JSON is six times as long.
fn control_characters() -> Vec<u8> {
    let limits = Limits { max_size: Limits::MAX_SIZE, ..Limits::default() };
    let term = Term::from("\u{1}".repeat(1_000_000));
    Dialect::Bincode.encode_up(&UpFrame::Message { sequence: None, term }, &limits).unwrap()
}

/// A device that sends this frame again and again until it is aborted.
fn flood(address: SocketAddr, id: &'static str, frame: Vec<u8>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut device = RawDevice::connect(address, id).await;
        loop {
            device.send_bytes(frame.clone()).await;
        }
    })
}

/// How long a new device's login takes.
async fn login(address: SocketAddr, id: &str) -> Duration {
    let began = Instant::now();
    RawDevice::login(address, id).await;
    began.elapsed()
}

/// How long it takes to revoke a device's tokens.
async fn revocation(admin: &Http) -> Duration {
    let began = Instant::now();
    let answer = admin.post("/api/v1/devices/victim/revoke", "").await;
    assert!(answer.status.is_success(), "{answer:?}");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_for_a_dead_webhook_delays_no_login_or_revocation() {
    let _alone = ATTACK.lock().await;
    let lines = webhook(silent_receiver().await, "");
    let server = CloudProcess::start(PROGRAM, &lines).await;
    let admin = server
        .http()
        .token(&server.token("admin", &["--role", "read", "--role", "admin"]).await)
        .json();
    let usual = login(server.address, "victim").await;
    // The store learns about once a second which devices were connected; until then a device that has left is unknown.
    until(async || {
        let answer = admin.post("/api/v1/devices/victim/revoke", "").await;
        answer.status.is_success().then_some(())
    })
    .await;
    let idle = memory(&server, "VmRSS");

    let flood = flood(server.address, "mallory", control_characters());
    let until = Instant::now() + Duration::from_secs(16);
    let (mut slowest_login, mut slowest_revocation) = (Duration::ZERO, Duration::ZERO);
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
        slowest_login = slowest_login.max(login(server.address, "newcomer").await);
        slowest_revocation = slowest_revocation.max(revocation(&admin).await);
    }
    flood.abort();
    let cost = memory(&server, "VmHWM").saturating_sub(idle);
    println!("{} MiB, login {usual:?} and {slowest_login:?}, {slowest_revocation:?}", cost / MIB);
    assert!(cost <= MEMORY, "{} MiB above idle", cost / MIB);
    assert!(slowest_revocation <= CRITICAL, "a revocation took {slowest_revocation:?}");
    assert!(slowest_login <= usual + CRITICAL, "a login took {slowest_login:?}, usually {usual:?}");
}

/// The size of the store's files.
fn on_disk(folder: &Path) -> u64 {
    let size = |name| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    size("fedecks-data/fedecks.sqlite") + size("fedecks-data/fedecks.sqlite-wal")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_to_a_webhooks_bytes_and_shrinks_afterwards() {
    let _alone = ATTACK.lock().await;
    const KEPT: u64 = 32 * MIB;
    let receiver = silent_receiver().await;
    let lines = webhook(receiver, &format!("timeout = \"1h\"\nkeep_bytes = {KEPT}"));
    let mut server = CloudProcess::start(PROGRAM, &lines).await;
    let folder = server.program.folder.path().to_owned();
    let mut device = RawDevice::connect(server.address, "mallory").await;
    let frame = control_characters();
    let mut most = 0;
    for _ in 0..60 {
        device.send_bytes(frame.clone()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(on_disk(&folder));
    }
    // The write-ahead log, and the event that is being stored.
    let allowed = KEPT + 24 * MIB;
    assert!(most <= allowed, "{} MiB on disk", most / MIB);
    assert!(most >= KEPT / 2, "{} MiB on disk, so nothing was tested", most / MIB);

    drop(device);
    server.kill().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = folder.join("cloud.toml");
    let lines = std::fs::read_to_string(&file).unwrap();
    let taking = listener.local_addr().unwrap().to_string();
    std::fs::write(&file, lines.replace(&receiver.to_string(), &taking)).unwrap();
    let hook = warp::body::bytes().map(|_| warp::reply());
    tokio::spawn(warp::serve(hook).incoming(listener).run());
    server.start_again().await;
    let mut left = 0;
    let shrunk = tokio::time::timeout(
        Duration::from_secs(25),
        until_every(Duration::from_millis(200), async || {
            left = on_disk(&folder);
            (left <= 2 * MIB).then_some(())
        }),
    );
    assert!(shrunk.await.is_ok(), "{} MiB on disk after everything was delivered", left / MIB);
}

#[tokio::test]
async fn one_token_does_not_take_all_event_streams() {
    let _alone = ATTACK.lock().await;
    let server = CloudProcess::start(PROGRAM, "").await;
    let scoped = server.token("scoped", &["--role", "read", "--devices", "site-a-*"]).await;
    let other = server.token("other", &["--role", "read"]).await;
    let (scoped, other) = (server.http().token(&scoped), server.http().token(&other));
    let mut open = Vec::new();
    let refused = loop {
        let response = scoped.open(Method::GET, "/api/v1/events", "").await;
        if response.status() != StatusCode::OK {
            break scoped.get("/api/v1/events").await;
        }
        open.push(response);
        assert!(open.len() < 150, "one token has {} streams", open.len());
    };
    assert_eq!(problem(&refused), "429 too-many-streams-of-token");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("events.streams_per_token"), "{detail}");
    drop(other.events("/api/v1/events").await);
    // One that ends makes room for another.
    open.pop();
    until_every(Duration::from_millis(50), async || {
        let response = scoped.open(Method::GET, "/api/v1/events", "").await;
        (response.status() == StatusCode::OK).then_some(())
    })
    .await;
}

/// A reader of events that stops reading after the head of the response.
async fn stalled_reader(address: SocketAddr, token: &str, query: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "GET /api/v1/events{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await?;
    assert_eq!(&first, b"HTTP/1.1 200");
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_reading_hold_no_big_events() {
    let _alone = ATTACK.lock().await;
    let server = CloudProcess::start(PROGRAM, "").await;
    let token = server.token("reader", &["--role", "read"]).await;
    let mut device = RawDevice::connect(server.address, "mallory").await;
    let idle = memory(&server, "VmRSS");
    let frame = control_characters();
    let mut readers = Vec::new();
    for _ in 0..50 {
        // Each begins with another event, and so holds another.
        readers.push(within(stalled_reader(server.address, &token, "")).await.unwrap());
        device.send_bytes(frame.clone()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cost = memory(&server, "VmHWM").saturating_sub(idle);
    println!("{} MiB", cost / MIB);
    assert!(cost <= MEMORY, "{} MiB above idle", cost / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_with_awkward_patterns_delay_no_one() {
    let _alone = ATTACK.lock().await;
    const READERS: usize = 160;
    const PER_TOKEN: usize = 80;
    let server = CloudProcess::start(PROGRAM, "").await;
    let id = "a".repeat(128);
    let mut readers = Vec::new();
    for number in 0..READERS / PER_TOKEN {
        let token = server.token(&format!("reader-{number}"), &["--role", "read"]).await;
        let streams = (0..PER_TOKEN).map(|number| {
            let pattern = format!("*{}b{}", "a".repeat(60), "*".repeat(number % 8));
            let (address, token) = (server.address, token.clone());
            async move { stalled_reader(address, &token, &format!("?device={pattern}")).await }
        });
        readers.extend(within(join_all(streams)).await.into_iter().map(Result::unwrap));
    }
    let proof = fresh_token(&id);
    let header = auth_header(&id, proof);
    let mut noisy =
        RawDevice::dial_with(server.address, &[(AUTH_HEADER, &header), SUBPROTOCOL]).await.unwrap();
    noisy.welcome().await;
    let noise = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            for _ in 0..10 {
                noisy.say("x").await;
            }
        }
    });
    let mut quiet = RawDevice::connect(server.address, "quiet").await;
    let (mut slowest, until) = (Duration::ZERO, Instant::now() + Duration::from_secs(6));
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        assert_eq!(server.http().get("/healthz").await.status, StatusCode::OK);
        quiet.ping().await;
        slowest = slowest.max(began.elapsed());
    }
    noise.abort();
    println!("health and a ping took {slowest:?} at most");
    assert!(slowest <= Duration::from_secs(1), "health and a ping took {slowest:?}");
}
