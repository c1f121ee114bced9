//! What clients and devices that mean harm can make the server keep in memory, or compute. `ci/bench` does the
//! same in full.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::raw_device::{RawDevice, fresh_token};
use fedecks_testing::wait::within;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::PROGRAM;

const MIB: usize = 1024 * 1024;

/// The largest JSON body of a message.
const BODY: usize = 8 * MIB;

/// How much more memory than before an attack the server may use.
const ALLOWED: usize = 160 * MIB;

/// How long a login or a revocation may take meanwhile, in a build without optimizations.
const PROMPT: Duration = Duration::from_secs(5);

/// A server with the token `attacker`, which may send to one device, and what it used before the attack.
struct Attacked {
    server: CloudProcess,
    token: String,
    admin: String,
    idle: usize,
}

impl Attacked {
    async fn start(lines: &str) -> Self {
        let server = CloudProcess::start(PROGRAM, lines).await;
        let token = server.token("attacker", &["--role", "send", "--devices", "victim"]).await;
        let admin = server.token("operator", &["--role", "admin"]).await;
        // The first login allocates what Argon2 needs, which the next ones use again.
        drop(RawDevice::login(server.address, "first").await);
        let idle = memory(server.pid(), "VmRSS:");
        Self { server, token, admin, idle }
    }

    /// The head of a request with a message for the device.
    fn head(&self, length: usize) -> String {
        format!(
            "POST /api/v1/devices/victim/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            self.token
        )
    }

    /// Asserts that others are served while the attack lasts.
    async fn serves_others(&self) {
        let start = Instant::now();
        let mut device = RawDevice::login(self.server.address, "honest").await;
        let took = start.elapsed();
        assert!(took < PROMPT, "a login took {took:?}");
        let http = self.server.http().token(&self.admin);
        let start = Instant::now();
        let answer = http.post("/api/v1/devices/honest/revoke", "").await;
        let took = start.elapsed();
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        assert!(took < PROMPT, "a revocation took {took:?}");
        assert_eq!(device.closed().await.code.code(), 4401);
    }

    /// Asserts that the server never used more memory than it may.
    fn stayed_small(&self) {
        let used = memory(self.server.pid(), "VmHWM:").saturating_sub(self.idle);
        assert!(used <= ALLOWED, "{} MiB above idle, at most {}", used / MIB, ALLOWED / MIB);
    }
}

/// A value of /proc/PID/status, in bytes.
fn memory(pid: u32, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// The processor time that a process has used.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may contain spaces: fields 14 and 15 in hundredths of a second.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Writes as much of `bytes` as the server takes, and returns what it answers, if it does.
async fn write(address: SocketAddr, parts: &[&[u8]], wait: Duration) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = vec![0; 4096];
    for part in parts {
        if stream.write_all(part).await.is_err() {
            break;
        }
    }
    let read = tokio::time::timeout(wait, stream.read(&mut answer)).await;
    let length = read.ok().and_then(Result::ok).unwrap_or_default();
    answer.truncate(length);
    (stream, String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_held_open_are_bounded_in_sum() {
    const REQUESTS: usize = 40;
    let attacked = Attacked::start("").await;
    let (address, head) = (attacked.server.address, attacked.head(BODY));
    let body = vec![b' '; BODY - 1];
    let requests = (0..REQUESTS).map(|_| {
        let (head, body) = (head.clone(), body.clone());
        tokio::spawn(async move {
            write(address, &[head.as_bytes(), &body], Duration::from_secs(3)).await
        })
    });
    let mut answers = Vec::new();
    let mut held = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        let (stream, answer) = within(request).await.unwrap();
        held.push(stream);
        answers.push(answer);
    }
    attacked.serves_others().await;
    attacked.stayed_small();
    let refused = answers.iter().filter(|answer| answer.contains("\"too-much-at-once\"")).count();
    assert!((REQUESTS / 2..REQUESTS).contains(&refused), "{refused} were refused: {answers:?}");
    let mut refusals = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 429 "));
    assert!(refusals.all(|answer| answer.contains("\r\nretry-after: ")), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_nested_lists_are_refused_before_they_grow() {
    let attacked = Attacked::start("").await;
    let _victim = RawDevice::login(attacked.server.address, "victim").await;
    let mut body = b"[".to_vec();
    while body.len() < BODY - 8 {
        body.extend_from_slice(b"[],");
    }
    body.extend_from_slice(b"[]]");
    let (address, head) = (attacked.server.address, attacked.head(body.len()));
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (head, body) = (head.clone(), body.clone());
            tokio::spawn(async move {
                write(address, &[head.as_bytes(), &body], Duration::from_secs(20)).await.1
            })
        })
        .collect();
    attacked.serves_others().await;
    for request in requests {
        let answer = within(request).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    attacked.stayed_small();
}

/// Sends `bytes` to the server again and again, until it is dropped.
struct Flood(Arc<AtomicBool>);

impl Flood {
    fn start(stream: TcpStream, bytes: Vec<u8>) -> Self {
        let mut stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let flood = Self(ended.clone());
        std::thread::spawn(move || {
            let mut rest = &bytes[..];
            while !ended.load(Ordering::Relaxed) {
                match stream.write(rest) {
                    Ok(written) if written < rest.len() => rest = &rest[written..],
                    Ok(_) => rest = &bytes,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
        });
        flood
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A frame of a client, masked with zeros.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_small_frames_take_little_of_a_processor() {
    let attacked = Attacked::start("").await;
    let pid = attacked.server.pid();
    let fragments = |payload: &[u8]| frame(0, payload).repeat(10_000);
    for (case, first, flood) in [
        ("empty fragments", frame(2, b""), fragments(b"")),
        ("fragments of text", frame(1, b""), fragments(b"")),
        ("pongs", Vec::new(), frame(0x8a, b"").repeat(10_000)),
        ("empty messages", Vec::new(), frame(0x82, b"").repeat(10_000)),
        ("empty texts", Vec::new(), frame(0x81, b"").repeat(10_000)),
    ] {
        let device =
            RawDevice::dial(attacked.server.address, "victim", fresh_token("victim")).await;
        let mut stream = device.unwrap().ws.into_inner();
        stream.write_all(&first).await.unwrap();
        let _flood = Flood::start(stream, flood);
        // The burst.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = processor_time(pid);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let used = processor_time(pid) - before;
        println!("{case}: {used:?} of 3 s");
        // Of a build without optimizations, which also logs.
        assert!(used < Duration::from_millis(600), "{case}: {used:?} of 3 s");
    }
    attacked.serves_others().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_never_end_are_bounded_in_sum() {
    const DEVICES: usize = 250;
    let attacked = Attacked::start("").await;
    let mut head = vec![0x82, 0x80 | 127];
    head.extend_from_slice(&(MIB as u64).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    let message = [head, vec![0; MIB - 1]].concat();
    let mut held = Vec::new();
    for index in 0..DEVICES {
        let id = format!("victim-{index}");
        let device = RawDevice::dial(attacked.server.address, &id, fresh_token(&id)).await.unwrap();
        let mut stream = device.ws.into_inner();
        // What the server does not read stays in the kernel's buffers.
        let _ = tokio::time::timeout(Duration::from_millis(100), stream.write_all(&message)).await;
        held.push(stream);
    }
    attacked.serves_others().await;
    attacked.stayed_small();
}
