//! What runs in the containers of the compose file, as processes: three servers, NATS and HAProxy, as they are configured
//! there.

use std::net::SocketAddr;
use std::path::Path;

use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::nats::NatsServer;
use fedecks_testing::postgres::PostgresServer;
use fedecks_testing::process_group::ProcessGroup;
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::reverse_proxies::{PROXY, changed, find, free_port};
use crate::several::{at_last, place, states};
use crate::support::PROGRAM;

const COMPOSE: &str = include_str!("../../../data/container/compose.yaml");

const SERVERS: [&str; 3] = ["one", "three", "two"];

/// What configures its servers.
const VARIABLES: [&str; 6] = [
    "FEDECKS_TRUSTED_PROXIES",
    "FEDECKS_STORE",
    "FEDECKS_STORE_PASSWORD_FILE",
    "FEDECKS_SECRET_FILE",
    "FEDECKS_SALT_FILE",
    "FEDECKS_CLUSTER_NATS",
];

/// A server as in its container, with these addresses of the others.
fn program(name: &str, postgres: &str, nats: &NatsServer) -> CloudProgram {
    let program = CloudProgram::new(PROGRAM)
        .variable("FEDECKS_LISTEN", "127.0.0.1:0")
        .variable("FEDECKS_DATA_DIR", "data")
        .variable("FEDECKS_CLUSTER_NAME", name);
    let folder = program.folder.path().to_owned();
    for (secret, text) in [
        ("password", PostgresServer::PASSWORD.to_owned()),
        ("secret", "5a".repeat(32)),
        ("salt", "a5".repeat(32)),
    ] {
        std::fs::write(folder.join(secret), format!("{text}\n")).unwrap();
    }
    let secrets = format!("{}/", folder.display());
    VARIABLES.iter().fold(program, |program, name| {
        let start = format!("    {name}: ");
        let value = COMPOSE.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        let value = value.replace("/run/secrets/", &secrets);
        let value = value.replace("postgres://fedecks@postgres/fedecks", postgres);
        program.variable(name, value.replace("nats://nats:4222", &nats.url()))
    })
}

/// HAProxy in front of them, and its address.
async fn haproxy(program: &Path, servers: &[CloudProcess]) -> (ProcessGroup, SocketAddr) {
    let address = SocketAddr::from((PROXY, free_port()));
    let bind = format!("bind {address}");
    let names = SERVERS.map(|name| format!("server {name} {name}:8080"));
    let mut changes = vec![("bind :8080", bind)];
    for ((before, name), server) in names.iter().zip(SERVERS).zip(servers) {
        changes.push((before, format!("server {name} {}", server.address)));
    }
    let file = servers[0].program.folder.path().join("haproxy.cfg");
    std::fs::write(&file, changed("container/haproxy.cfg", &changes)).unwrap();
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file);
    let process = ProcessGroup::spawn(&mut command).unwrap();
    at_last("HAProxy listens", async || TcpStream::connect(address).await.ok()).await;
    (process, address)
}

#[tokio::test]
async fn what_is_in_the_containers_works_together() {
    let Some(proxy) = find("haproxy") else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/container/nats.conf");
    let Some(nats) = NatsServer::start(&["--config", file.to_str().unwrap()]) else { return };
    let Some(postgres) = PostgresServer::start() else { return };
    let url = postgres.database("fedecks");
    assert_eq!(COMPOSE.matches(" FEDECKS_").count(), VARIABLES.len());
    let image = concat!("image: localhost/fedecks-cloud:", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(COMPOSE.matches(image).count(), 1);

    let first = program(SERVERS[0], &url, &nats);
    first.add_account(USER, PASSWORD).await;
    let checked = first.run(&["check-config"], "").await;
    assert!(checked.contains(&format!("cluster: by {}, ", nats.url())), "{checked}");
    let mut servers = vec![first.serve(&[]).await];
    for name in &SERVERS[1..] {
        servers.push(program(name, &url, &nats).serve(&[]).await);
    }
    for (name, server) in SERVERS.iter().zip(&servers) {
        let its = format!(
            "  {name}:\n    <<: *server\n    hostname: {name}\n    volumes: [\"{name}:/var/lib/fedecks\"]\n"
        );
        assert!(COMPOSE.contains(&its), "{its}");
        let others = async || (place(server).await["others"] == 2).then_some(());
        at_last("the servers reach each other", others).await;
    }
    assert_eq!(states(&servers[0]).await, ["one leads", "three serves", "two serves"]);

    let (_haproxy, address) = haproxy(&proxy, &servers).await;
    let http = Http::to(address);
    let ready = async || (http.get("/readyz").await.status == StatusCode::OK).then_some(());
    at_last("HAProxy reaches a server", ready).await;
    let token = servers[0].token("all", &["--role", "send", "--role", "read"]).await;
    let mut device = Device::logged_in(address, "nerves-1").await;
    for server in &servers {
        let http = server.http().token(&token).json();
        let known = async || {
            let shown = http.get("/api/v1/devices/nerves-1").await;
            (shown.status == StatusCode::OK && shown.json()["connected"] == true).then_some(())
        };
        at_last("the server knows the token and the device", known).await;
        let sent = http.post("/api/v1/devices/nerves-1/messages", "42").await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
        assert_eq!(device.message().await, 42.into());
    }
}
