//! What the relay on loopback does to real connections.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use fedecks_testing::tcp_relay::{Link, NewConnections, TcpRelay};
use fedecks_testing::wait::{until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough for what is not swallowed to arrive.
const MOMENT: Duration = Duration::from_millis(200);

struct Net {
    relay: TcpRelay,
    target: TcpListener,
}

impl Net {
    async fn new() -> Self {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { relay: TcpRelay::start(target.local_addr().unwrap()).await, target }
    }

    /// Both ends of a new connection.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(self.relay.address).await.unwrap();
        (near, within(self.target.accept()).await.unwrap().0)
    }
}

async fn passes(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).await.unwrap();
    let mut received = vec![0; text.len()];
    within(to.read_exact(&mut received)).await.unwrap();
    assert_eq!(received, text.as_bytes());
}

/// Neither bytes nor an end arrive.
async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(MOMENT, stream.read(&mut [0; 16])).await.is_err()
}

async fn error(stream: &mut TcpStream) -> ErrorKind {
    within(stream.read(&mut [0; 16])).await.unwrap_err().kind()
}

#[tokio::test]
async fn a_link_passes_bytes_and_ends_in_both_directions() {
    let net = Net::new().await;
    let (mut near, mut far) = net.connect().await;
    passes(&mut near, &mut far, "up").await;
    passes(&mut far, &mut near, "down").await;
    near.shutdown().await.unwrap();
    assert_eq!(within(far.read(&mut [0; 16])).await.unwrap(), 0);
    passes(&mut far, &mut near, "after the end of the other direction").await;
    drop(far);
    assert_eq!(within(near.read(&mut [0; 16])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reset_of_one_end_passes_to_the_other() {
    let net = Net::new().await;
    let (near, mut far) = net.connect().await;
    near.set_zero_linger().unwrap();
    drop(near);
    assert_eq!(error(&mut far).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_cut_swallows_bytes_and_ends_without_a_notice() {
    let net = Net::new().await;
    let (mut near, mut far) = net.connect().await;
    passes(&mut near, &mut far, "before").await;
    net.relay.set(Link::Cut(NewConnections::Silent));
    near.write_all(b"lost").await.unwrap();
    assert!(is_silent(&mut far).await);
    far.write_all(b"lost too").await.unwrap();
    assert!(is_silent(&mut near).await);
    assert_eq!(net.relay.counts().swallowed, 12);
    drop(near);
    assert!(is_silent(&mut far).await);
}

#[tokio::test]
async fn a_connection_with_losses_stays_silent_after_a_cut() {
    let net = Net::new().await;
    let (mut lossy, mut lossy_far) = net.connect().await;
    let (mut idle, mut idle_far) = net.connect().await;
    net.relay.set(Link::Cut(NewConnections::Silent));
    let mut opened_in_cut = TcpStream::connect(net.relay.address).await.unwrap();
    lossy.write_all(b"lost").await.unwrap();
    until(async || (net.relay.counts().swallowed == 4).then_some(())).await;
    net.relay.set(Link::Up);
    lossy.write_all(b"more").await.unwrap();
    assert!(is_silent(&mut lossy_far).await);
    assert!(is_silent(&mut opened_in_cut).await);
    passes(&mut idle, &mut idle_far, "idle during the cut").await;
    let (mut near, mut far) = net.connect().await;
    passes(&mut near, &mut far, "new").await;
    passes(&mut far, &mut near, "new").await;
}

#[tokio::test]
async fn a_cut_refuses_new_connections_if_it_should() {
    let net = Net::new().await;
    net.relay.set(Link::Cut(NewConnections::Refused));
    let mut refused = TcpStream::connect(net.relay.address).await.unwrap();
    assert_eq!(error(&mut refused).await, ErrorKind::ConnectionReset);
    assert_eq!(net.relay.counts().reset, 1);
    assert!(timeout(MOMENT, net.target.accept()).await.is_err());
}

#[tokio::test]
async fn a_reset_reaches_both_ends_of_every_connection() {
    let net = Net::new().await;
    let (mut near, mut far) = net.connect().await;
    passes(&mut near, &mut far, "before").await;
    net.relay.set(Link::Cut(NewConnections::Silent));
    let mut silent = TcpStream::connect(net.relay.address).await.unwrap();
    until(async || (net.relay.counts().accepted == 2).then_some(())).await;
    net.relay.reset();
    for stream in [&mut near, &mut far, &mut silent] {
        assert_eq!(error(stream).await, ErrorKind::ConnectionReset);
    }
    net.relay.set(Link::Up);
    let (mut near, mut far) = net.connect().await;
    passes(&mut near, &mut far, "after").await;
}

#[tokio::test]
async fn a_slow_link_has_its_latency_and_its_rate() {
    let net = Net::new().await;
    let (mut near, mut far) = net.connect().await;
    let latency = Duration::from_millis(150);
    net.relay.set(Link::Slow { bytes_per_second: 1_000_000, latency });
    let began = Instant::now();
    passes(&mut near, &mut far, "x").await;
    passes(&mut far, &mut near, "x").await;
    assert!(began.elapsed() >= 2 * latency);
    // The rate is that of both connections together.
    let (mut other, mut other_far) = net.connect().await;
    net.relay.set(Link::Slow { bytes_per_second: 10_000, latency: Duration::ZERO });
    let began = Instant::now();
    let text = "x".repeat(2_000);
    tokio::join!(passes(&mut near, &mut far, &text), passes(&mut other, &mut other_far, &text));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(390) && took < Duration::from_secs(4), "{took:?}");
    net.relay.set(Link::Up);
    passes(&mut near, &mut far, "restored").await;
}

#[tokio::test]
async fn what_is_in_transit_is_bounded() {
    let net = Net::new().await;
    let (mut near, _far) = net.connect().await;
    let latency = Duration::from_secs(3600);
    net.relay.set(Link::Slow { bytes_per_second: u64::MAX, latency });
    let chunk = vec![0; 1 << 16];
    let mut accepted = 0;
    while let Ok(result) = timeout(MOMENT, near.write(&chunk)).await {
        accepted += result.unwrap();
        // What the kernel buffers on loopback, which may grow to 4 MiB and 6 MiB, and the relay's 64 KiB.
        assert!(accepted < 16 << 20);
    }
    assert!(accepted >= 1 << 16);
}
