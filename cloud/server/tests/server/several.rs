//! Several servers that serve together on one PostgreSQL database, connected by NATS. A lease that no one renews ends
//! after 15 s, which is not shortened here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::nats::NatsServer;
use fedecks_testing::postgres::PostgresServer;
use fedecks_testing::wait::until;
use http::StatusCode;
use serde_json::Value;

use crate::monitoring::{groups, missing};
use crate::postgres::{database_with_account, with_database};
use crate::support::{METRICS, metrics};
use crate::webhooks::Receiver;

/// How long what takes seconds may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A database with an account, and a server of NATS.
pub(crate) struct Fleet {
    _postgres: PostgresServer,
    pub(crate) nats: NatsServer,
    pub(crate) url: String,
}

impl Fleet {
    pub(crate) async fn start() -> Option<Self> {
        let nats = NatsServer::start(&[])?;
        let (postgres, url, _) = database_with_account().await?;
        Some(Self { _postgres: postgres, nats, url })
    }

    /// A server of this name, with more lines in its configuration.
    pub(crate) fn program(&self, url: &str, name: &str, lines: &str) -> CloudProgram {
        let program = with_database(url)
            .variable("FEDECKS_CLUSTER_NATS", self.nats.url())
            .variable("FEDECKS_CLUSTER_NAME", name)
            .variable("FEDECKS_DRAIN_SPREAD", "1s");
        let file = program.folder.path().join("cloud.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, before + lines).unwrap();
        program
    }

    /// The same, once it serves.
    pub(crate) async fn server(&self, name: &str, lines: &str) -> CloudProcess {
        self.program(&self.url, name, lines).serve(&[]).await
    }
}

/// What `fedecks-cloud node list` says that each server does.
pub(crate) async fn states(of: &CloudProcess) -> Vec<String> {
    let listed = of.program.run(&["node", "list"], "").await;
    let state = |line: &str| {
        let mut columns = line.split('\t');
        format!("{} {}", columns.next().unwrap(), columns.next().unwrap())
    };
    let mut states: Vec<_> = listed.lines().map(state).collect();
    states.sort_unstable();
    states
}

/// What `/readyz` says of its place among the others.
pub(crate) async fn place(of: &CloudProcess) -> Value {
    of.http().get("/readyz").await.json()["cluster"].clone()
}

/// Waits for longer than other tests do.
pub(crate) async fn at_last<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn leads(server: &CloudProcess) {
    at_last("it leads", async || (place(server).await["leads"] == true).then_some(())).await;
}

#[tokio::test]
async fn two_servers_serve_and_one_of_them_leads() {
    let Some(fleet) = Fleet::start().await else { return };
    let mut one = fleet.server("one", "").await;
    let two = fleet.server("two", "").await;
    assert_eq!(states(&two).await, ["one leads", "two serves"]);
    for (server, leads) in [(&one, true), (&two, false)] {
        let ready = server.http().get("/readyz").await;
        assert_eq!((ready.status, &ready.json()["lease"]), (StatusCode::OK, &"held".into()));
        assert_eq!(ready.json()["cluster"]["leads"], leads, "{ready:?}");
    }
    // One that serves alone waits for them.
    let mut alone = with_database(&fleet.url).stand_by(&["--listen", "127.0.0.1:0"]);
    alone.logs("another server serves: this one is on standby").await;
    drop(alone);

    let token = one.token("all", &["--role", "admin"]).await;
    two.http().token(&token).until_status("/api/v1/token", StatusCode::OK).await;
    let (mut first, mut second) = (one.device("kitchen-1").await, two.device("kitchen-2").await);
    let revoked = Instant::now();
    let revoke = one.http().token(&token).post("/api/v1/devices/kitchen-2/revoke", "").await;
    assert!(revoke.status.is_success(), "{revoke:?}");
    second.until(|event| *event == fedecks_device::Event::Unregistered).await;
    // It is 500 ms, on a machine that does nothing else.
    assert!(revoked.elapsed() < Duration::from_secs(20), "{:?}", revoked.elapsed());

    // Drained, it ends in order, so that the other one leads at once.
    one.program.run(&["node", "drain", "one"], "").await;
    first.until_lost().await;
    let ended = at_last("it ends", async || one.try_ended()).await;
    assert_eq!(ended.code(), Some(79), "{}", one.log());
    leads(&two).await;
    let states = states(&two).await;
    assert!(states.contains(&"one ended".to_owned()), "{states:?}");
    assert!(states.contains(&"two leads".to_owned()), "{states:?}");
    let unknown = two.program.fails(&["node", "drain", "one"], 1).await;
    assert!(unknown.contains("no server \"one\" serves"), "{unknown}");
}

#[tokio::test]
async fn every_metric_of_the_rules_for_several_is_there() {
    let Some(fleet) = Fleet::start().await else { return };
    let server = fleet.server("one", METRICS).await;
    let metrics = metrics(&Http::to(server.addresses()[1])).await;
    let [_, of_several] = groups();
    assert_eq!(missing(&of_several, &metrics), [""; 0], "not in:\n{metrics}");
}

#[tokio::test]
async fn a_check_says_whether_nats_is_reached() {
    let Some(fleet) = Fleet::start().await else { return };
    let reached = fleet.program(&fleet.url, "one", "").run(&["check-config"], "").await;
    assert!(reached.contains(&format!("cluster: by {}, ", fleet.nats.url())), "{reached}");
    let away = with_database(&fleet.url).variable("FEDECKS_CLUSTER_NATS", "nats://127.0.0.1:1");
    let away = away.fails(&["check-config"], 1).await;
    assert!(away.contains("cannot reach NATS at nats://127.0.0.1:1: "), "{away}");
}

/// The numbers that a receiver got of each device, in order.
struct Deliveries {
    receiver: Receiver,
    got: BTreeMap<String, Vec<u64>>,
}

impl Deliveries {
    /// Waits until a device's number has arrived.
    async fn until(&mut self, device: &str, number: u64) {
        while !self.got.get(device).is_some_and(|got| got.contains(&number)) {
            let next = tokio::time::timeout(PATIENCE, self.receiver.next_at_last()).await;
            let json = next.expect("it is delivered").json();
            let from = json["device"].as_str().unwrap().to_owned();
            self.got.entry(from).or_default().push(json["message"].as_u64().unwrap());
        }
    }
}

async fn send(device: &Device, numbers: std::ops::Range<u64>) {
    for number in numbers {
        device.client.send(&number).await.unwrap();
    }
}

#[tokio::test]
async fn a_webhook_gets_what_devices_send_to_any_server() {
    let Some(fleet) = Fleet::start().await else { return };
    let receiver = Receiver::start().await;
    let lines = receiver.configuration("kinds = [\"message\"]\n");
    let mut one = fleet.server("one", &lines).await;
    let two = fleet.server("two", &lines).await;
    let mut deliveries = Deliveries { receiver, got: BTreeMap::new() };
    let (first, second) = (one.device("kitchen-1").await, two.device("kitchen-2").await);
    tokio::join!(send(&first, 0..50), send(&second, 0..50));
    deliveries.until("kitchen-1", 49).await;
    deliveries.until("kitchen-2", 49).await;
    // What is stored while nothing else happens is found, too.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    send(&second, 50..51).await;
    deliveries.until("kitchen-2", 50).await;
    assert_eq!(deliveries.got["kitchen-1"], (0..50).collect::<Vec<_>>(), "once and in order");
    assert_eq!(deliveries.got["kitchen-2"], (0..51).collect::<Vec<_>>(), "once and in order");

    // The one that delivers dies while it does. The other one stores what follows, and then delivers all of it.
    deliveries.got.clear();
    deliveries.receiver.answer(503);
    send(&second, 51..61).await;
    let refused = deliveries.receiver.next().await.json();
    assert_eq!(refused["message"], 51);
    let killed = Instant::now();
    one.kill().await;
    deliveries.receiver.answer(204);
    deliveries.receiver.forget();
    send(&second, 61..71).await;
    leads(&two).await;
    // It is at most 25 s, on a machine that does nothing else.
    assert!(killed.elapsed() < Duration::from_secs(60), "{:?}", killed.elapsed());
    deliveries.until("kitchen-2", 70).await;
    let mut got = deliveries.got["kitchen-2"].clone();
    got.dedup();
    assert_eq!(got, (51..71).collect::<Vec<_>>(), "at least once and in order");
    assert_eq!(states(&two).await, ["one dead", "two leads"]);
    let log = two.log();
    assert!(log.contains("declared another server dead"), "{log}");

    // Back again, it serves and does not lead.
    one.start_again().await;
    until(async || (place(&one).await["leads"] == false).then_some(())).await;
    let third = one.device("kitchen-3").await;
    send(&third, 0..10).await;
    deliveries.until("kitchen-3", 9).await;
    assert_eq!(deliveries.got["kitchen-3"], (0..10).collect::<Vec<_>>(), "once and in order");
}
