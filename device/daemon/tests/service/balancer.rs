//! A balancer between the service and its cloud ends every connection after a while.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::cloud;
use crate::support::fedecksd::Setup;

/// How long a connection lasts after the cloud has first answered.
const LASTS: Duration = Duration::from_secs(1);

/// The first delay: a connection of ten times that is a good one.
const BASE: &str = "20ms";

#[derive(Debug, Clone, Copy)]
enum End {
    /// The balancer closes both of its ends.
    Closed,
    /// It sends a reset.
    Reset,
}

/// Passes connections on to `cloud`. Returns its address; it ends with the tasks.
async fn balancer(tasks: &mut JoinSet<()>, cloud: SocketAddr, end: End) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (device, _) = listener.accept().await.unwrap();
            connections.spawn(pass(device, cloud, end));
        }
    });
    address
}

async fn pass(device: TcpStream, cloud: SocketAddr, end: End) {
    let cloud = TcpStream::connect(cloud).await.unwrap();
    if let End::Reset = end {
        device.set_zero_linger().unwrap();
    }
    let ((mut from_device, mut to_device), (mut from_cloud, mut to_cloud)) =
        (device.into_split(), cloud.into_split());
    let answers = async {
        from_cloud.readable().await.unwrap();
        tokio::time::timeout(LASTS, copy(&mut from_cloud, &mut to_device)).await
    };
    tokio::select! {
        // A device that closes its end is done.
        _ = copy(&mut from_device, &mut to_cloud) => {}
        _ = answers => {}
    }
}

/// How long the service waits after each of ten connections that end like this.
async fn waits(end: End) -> Vec<Duration> {
    let cloud = cloud().await;
    let mut tasks = JoinSet::new();
    let address = balancer(&mut tasks, cloud.address, end).await;
    let setup =
        Setup::new(address).with_credentials().line("backoff_base", BASE).line("backoff_cap", "1h");
    let mut service = setup.start();
    let mut waits = Vec::new();
    while waits.len() < 10 {
        service.logs(" connected").await;
        service.logs("connection lost").await;
        let scheduled = service.logs("connection scheduled").await;
        let delay = scheduled.rsplit("delay_ms=").next().unwrap().trim().parse().unwrap();
        waits.push(Duration::from_millis(delay));
    }
    service.kill().await;
    waits
}

#[tokio::test]
async fn a_balancer_that_ends_every_connection_delays_little() {
    let (closed, reset) = tokio::join!(waits(End::Closed), waits(End::Reset));
    for (end, waits) in [(End::Closed, closed), (End::Reset, reset)] {
        // A tenth of what the connections last, and of what their ends take on a busy machine.
        let longest = waits.iter().max().unwrap();
        assert!(*longest <= LASTS / 5, "{end:?}: {waits:?}");
    }
}
