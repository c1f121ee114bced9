//! What the relay between two namespaces does to real packets.

#![cfg(not(fedecks_emulated))] // It needs the kernel's TUN devices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use fedecks_testing::namespace::Namespace;
use fedecks_testing::relay::{Behaviour, Direction, End, Filter, Protocol, Relay};
use fedecks_testing::wait::{until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

const NEAR: [&str; 2] = ["10.9.0.1", "fd09::1"];
const FAR: [&str; 2] = ["10.9.0.2", "fd09::2"];

/// A link that should be quick may take this much longer on a machine that is busy.
const SLACK: Duration = Duration::from_millis(250);

struct Net {
    near: Namespace,
    far: Namespace,
    relay: Relay,
}

impl Net {
    async fn new(seed: u64) -> Option<Self> {
        if !Relay::is_possible() {
            return None;
        }
        let near = Namespace::new().await?;
        let far = Namespace::new().await?;
        let addresses = [["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"]];
        let relay = Relay::start(
            seed,
            End { namespace: &near, link: "near", addresses: &addresses[0] },
            End { namespace: &far, link: "far", addresses: &addresses[1] },
        );
        let relay = relay.await;
        Some(Self { near, far, relay })
    }

    /// Sockets of both ends that are connected to each other.
    async fn sockets(&self, family: usize) -> [UdpSocket; 2] {
        let bind = async |namespace: &Namespace, address: &str| {
            let _inside = namespace.inside();
            std::net::UdpSocket::bind(socket_address(address, 0)).unwrap()
        };
        let sockets = [bind(&self.near, NEAR[family]).await, bind(&self.far, FAR[family]).await];
        let [near, far] = [&sockets[0], &sockets[1]].map(|it| it.local_addr().unwrap());
        sockets[0].connect(far).unwrap();
        sockets[1].connect(near).unwrap();
        sockets.map(|socket| {
            socket.set_nonblocking(true).unwrap();
            UdpSocket::from_std(socket).unwrap()
        })
    }

    /// The shortest of three round trips: what else the machine does only lengthens them.
    async fn round_trip(&self, family: usize) -> Duration {
        let [near, far] = self.sockets(family).await;
        let mut shortest = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            near.send(b"ping").await.unwrap();
            let mut bytes = [0; 8];
            within(far.recv(&mut bytes)).await.unwrap();
            far.send(b"pong").await.unwrap();
            within(near.recv(&mut bytes)).await.unwrap();
            shortest = shortest.min(start.elapsed());
        }
        shortest
    }

    /// A connection over TCP, as seen from both ends.
    async fn connect(&self, family: usize) -> (TcpStream, TcpStream) {
        let listener = {
            let _inside = self.far.inside();
            std::net::TcpListener::bind(socket_address(FAR[family], 0)).unwrap()
        };
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = {
            let _inside = self.near.inside();
            if address.is_ipv4() {
                tokio::net::TcpSocket::new_v4()
            } else {
                tokio::net::TcpSocket::new_v6()
            }
        };
        let near = within(socket.unwrap().connect(address)).await.unwrap();
        (near, within(listener.accept()).await.unwrap().0)
    }
}

fn socket_address(address: &str, port: u16) -> SocketAddr {
    (address.parse::<IpAddr>().unwrap(), port).into()
}

#[tokio::test]
async fn an_echo_takes_the_delays_of_both_directions() {
    let Some(net) = Net::new(1).await else { return };
    for family in 0..2 {
        net.relay.set(Direction::Up, Behaviour::delayed(Duration::from_millis(300)));
        net.relay.set(Direction::Down, Behaviour::delayed(Duration::from_millis(200)));
        let took = net.round_trip(family).await;
        assert!(took >= Duration::from_millis(500), "{took:?}");
        assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");

        net.relay.set_both(&Behaviour::default());
        let took = net.round_trip(family).await;
        assert!(took < SLACK, "{took:?}");
    }
}

#[tokio::test]
async fn the_same_seed_loses_the_same_datagrams() {
    const SENT: u8 = 200;
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let Some(net) = Net::new(seed).await else { return };
        let lossy = Behaviour { loss: 0.3, ..Behaviour::default() };
        net.relay.set(Direction::Up, lossy);
        let [near, far] = net.sockets(0).await;
        for number in 0..SENT {
            near.send(&[number]).await.unwrap();
        }
        let counts = until(async || {
            let counts = net.relay.counts(Direction::Up);
            (counts.passed + counts.lost == u64::from(SENT)).then_some(counts)
        });
        let counts = counts.await;
        let mut received = Vec::new();
        while received.len() < usize::try_from(counts.passed).unwrap() {
            let mut byte = [0];
            within(far.recv(&mut byte)).await.unwrap();
            received.push(byte[0]);
        }
        // 60 expected, within three standard deviations of 6.5.
        assert!((41..=79).contains(&counts.lost), "{counts:?}");
        runs.push(received);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn an_address_is_silent_after_its_handshake_until_it_is_not() {
    let Some(net) = Net::new(1).await else { return };
    let silent = Filter::all().to(FAR[0].parse::<IpAddr>().unwrap()).tcp_data();
    net.relay.set(Direction::Up, Behaviour::swallowing(silent));
    for family in 0..2 {
        let (mut near, mut far) = net.connect(family).await;
        near.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        if family == 0 {
            let silence = timeout(Duration::from_millis(700), far.read_exact(&mut bytes)).await;
            assert!(silence.is_err());
            assert!(net.relay.counts(Direction::Up).swallowed > 0);
            net.relay.set(Direction::Up, Behaviour::default());
        }
        // TCP has sent it again.
        within(far.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}

#[tokio::test]
async fn one_direction_and_one_port_are_swallowed_alone() {
    let Some(net) = Net::new(1).await else { return };
    let [near, far] = net.sockets(0).await;
    let [near2, far2] = net.sockets(0).await;
    let port = near.local_addr().unwrap().port();
    let filter = Filter::all().protocol(Protocol::Udp).to_port(port);
    net.relay.set(Direction::Down, Behaviour::swallowing(filter));
    let mut bytes = [0; 8];
    for (near, far, passes) in [(near, far, false), (near2, far2, true)] {
        near.send(b"ping").await.unwrap();
        assert_eq!(within(far.recv(&mut bytes)).await.unwrap(), 4);
        far.send(b"pong!").await.unwrap();
        if passes {
            assert_eq!(within(near.recv(&mut bytes)).await.unwrap(), 5);
            // In order, so that the swallowed one has been, too.
            assert_eq!(net.relay.counts(Direction::Down).swallowed, 1);
        } else {
            until(async || (net.relay.counts(Direction::Down).swallowed == 1).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn a_slow_link_queues_no_more_bytes_than_it_may() {
    const QUEUE: usize = 5_000;
    let Some(net) = Net::new(1).await else { return };
    let slow = Behaviour { bytes_per_second: Some(20_000), queue: QUEUE, ..Behaviour::default() };
    net.relay.set(Direction::Up, slow);
    let [near, far] = net.sockets(0).await;
    let start = Instant::now();
    for _ in 0..20 {
        near.send(&[0; 1_000]).await.unwrap();
    }
    let counts = until(async || {
        let counts = net.relay.counts(Direction::Up);
        (counts.passed + counts.overflowed == 20).then_some(counts)
    });
    let (counts, took) = (counts.await, start.elapsed());
    assert!(counts.overflowed > 0 && counts.passed >= 4, "{counts:?}");
    // With the headers of IP and UDP.
    assert!(counts.most_queued <= QUEUE && counts.most_queued >= 1_028, "{counts:?}");
    let passed = u32::try_from(counts.passed).unwrap();
    let least = Duration::from_secs_f64(1_028.0 / 20_000.0) * passed;
    assert!(took >= least, "{passed} in {took:?}");
    for _ in 0..passed {
        assert_eq!(within(far.recv(&mut [0; 1_500])).await.unwrap(), 1_000);
    }
}
