//! Two servers on one PostgreSQL database: one serves, and the other takes over. A lease that no one renews ends after
//! 15 s, which is not shortened here.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fedecks_device::deliveries::{Deliveries, Lane};
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::postgres::PostgresServer;
use http::StatusCode;
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::postgres::{database_with_account, with_database};
use crate::reverse_proxies::{PROXY, Proxy, changed, find, free_port};

/// How long a server may take to serve after another has died.
const PATIENCE: Duration = Duration::from_secs(120);

/// A database with an account, and a server on it that serves.
struct Pair {
    /// Ends when this is dropped.
    _postgres: PostgresServer,
    url: String,
    first: CloudProcess,
}

impl Pair {
    async fn start() -> Option<Self> {
        let (postgres, url, program) = database_with_account().await?;
        let first = program.serve(&[]).await;
        Some(Self { _postgres: postgres, url, first })
    }

    /// Another server, once it stands by. It would listen at this address.
    async fn standby(&self, listen: &str) -> CloudProcess {
        let second = with_database(&self.url);
        let mut second = second.stand_by(&["--listen", listen]);
        second.logs("another server serves: this one is on standby").await;
        assert!(second.addresses().is_empty());
        second
    }

    /// What `fedecks-cloud node list` says that each server does.
    async fn states(&self) -> Vec<String> {
        let listed = self.first.program.run(&["node", "list"], "").await;
        let state = |line: &str| line.split('\t').nth(1).unwrap().to_owned();
        listed.lines().map(state).collect()
    }
}

/// Waits until it serves.
async fn serves(server: &mut CloudProcess) {
    tokio::time::timeout(PATIENCE, server.listens_at_last()).await.expect("it serves");
}

/// The exit code of a server that stops: a slow machine may need all the time that a drain may take.
async fn ended(server: &mut CloudProcess) -> Option<i32> {
    tokio::time::timeout(PATIENCE, server.end()).await.expect("it ends")
}

async fn keep(server: &CloudProcess, token: &str, text: &str) -> StatusCode {
    let messages = "/api/v1/devices/nerves-1/messages?keep=true";
    let http = server.http().token(token).json();
    http.post(messages, format!("{text:?}")).await.status
}

/// Waits until the device is connected to it.
async fn connects(server: &CloudProcess, token: &str) {
    let http = server.http().token(token);
    let connects = async {
        while http.get("/api/v1/devices/nerves-1").await.json()["connected"] != true {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connects).await.expect("the device connects");
}

async fn receive(deliveries: &mut Deliveries, text: &str) {
    let delivery = tokio::time::timeout(PATIENCE, deliveries.next()).await.unwrap().unwrap();
    assert_eq!(delivery.parse(), Ok(text.to_owned()));
    delivery.ack();
}

/// HAProxy as it is shipped, in front of servers at these addresses.
pub(crate) async fn in_front_of(haproxy: &Path, addresses: [SocketAddr; 2]) -> Proxy {
    let mut proxy = Proxy::new();
    let pair = ["c.pem", "k.pem"].map(|name| std::fs::read_to_string(proxy.file(name)).unwrap());
    std::fs::write(proxy.file("pair.pem"), pair.concat()).unwrap();
    let [one, two] = addresses.map(|address| address.to_string());
    let bind = format!("{PROXY}:{} ssl crt {}", proxy.port, proxy.file("pair.pem"));
    let changes = [
        (":443 ssl crt /etc/haproxy/fedecks.pem", bind),
        ("192.0.2.11:8080", one),
        ("192.0.2.12:8080", two),
    ];
    let file = proxy.file("haproxy.cfg");
    std::fs::write(&file, changed("haproxy.cfg", &changes)).unwrap();
    proxy.run(Command::new(haproxy).args(["-db", "-f", &file])).await;
    proxy
}

#[tokio::test]
async fn a_standby_serves_when_the_other_server_has_died() {
    let Some(haproxy) = find("haproxy") else { return };
    let Some(mut pair) = Pair::start().await else { return };
    let first = pair.first.address;
    let second = SocketAddr::from((PROXY, free_port()));
    let proxy = in_front_of(&haproxy, [first, second]).await;
    let mut second = pair.standby(&second.to_string()).await;
    assert_eq!(pair.states().await, ["serves", "waits"]);
    let token = pair.first.token("all", &["--role", "read", "--role", "send"]).await;
    let mut device = proxy.device_with("nerves-1", |builder| builder.wait_for_consumer(true)).await;
    device.login().await;
    assert_eq!(keep(&pair.first, &token, "before").await, StatusCode::ACCEPTED);
    pair.first.kill().await;
    device.until_lost().await;

    serves(&mut second).await;
    connects(&second, &token).await;
    assert_eq!(keep(&second, &token, "after").await, StatusCode::ACCEPTED);
    let mut deliveries = device.client.deliveries(Lane::Normal).unwrap();
    receive(&mut deliveries, "before").await;
    receive(&mut deliveries, "after").await;
    assert_eq!(pair.states().await, ["dead", "serves"]);

    // Back again it stands by, and serves soon after the other one has stopped in order.
    let mut again = pair.standby(&first.to_string()).await;
    second.signal(Signal::SIGTERM);
    assert_eq!(ended(&mut second).await, Some(0), "{}", second.log());
    serves(&mut again).await;
    connects(&again, &token).await;
    assert_eq!(pair.states().await, ["dead", "ended", "serves"]);
}

#[tokio::test]
async fn a_server_that_was_stopped_for_long_writes_nothing_more() {
    let Some(mut pair) = Pair::start().await else { return };
    let mut second = pair.standby("127.0.0.1:0").await;
    let token = pair.first.token("all", &["--role", "read", "--role", "send"]).await;
    let mut device = pair.first.device("nerves-1").await;
    pair.first.signal(Signal::SIGSTOP);
    serves(&mut second).await;
    // It has waited at the socket of the one that is stopped.
    let late = tokio::spawn({
        let http = pair.first.http().token(&token).json();
        async move { http.post("/api/v1/devices/nerves-1/messages?keep=true", "1").await.status }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    pair.first.signal(Signal::SIGCONT);
    // A request that finds the server gone has no answer, and so the task panics.
    let answered = late.await.ok();
    assert_ne!(answered, Some(StatusCode::ACCEPTED));
    device.until_lost().await;
    assert_eq!(ended(&mut pair.first).await, Some(75), "{}", pair.first.log());
    assert!(pair.first.log().contains("the lease has ended"), "{}", pair.first.log());
    let listed = second.http().token(&token).get("/api/v1/devices/nerves-1/messages").await;
    assert_eq!(listed.json()["messages"], serde_json::json!([]));

    // A standby ends at a signal.
    let mut third = pair.standby("127.0.0.1:0").await;
    third.signal(Signal::SIGTERM);
    assert_eq!(ended(&mut third).await, Some(0), "{}", third.log());
}
