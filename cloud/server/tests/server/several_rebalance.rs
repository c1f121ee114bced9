//! Devices are moved to a server that came later, by `node rebalance`.

use std::net::SocketAddr;

use fedecks_device::Event;
use fedecks_device::deliveries::{Deliveries, Lane};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::wait::within;
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;

use crate::reverse_proxies::{PROXY, Proxy, find, free_port};
use crate::several::{Fleet, PATIENCE, at_last, place};
use crate::standby::in_front_of;
use crate::support::{METRICS, PROGRAM, metrics, sample};

const DEVICES: usize = 20;

/// How many devices are connected to each of the servers.
async fn sessions(servers: [&CloudProcess; 2]) -> [f64; 2] {
    let mut sessions = [0.0; 2];
    for (server, sessions) in servers.iter().zip(&mut sessions) {
        let http = Http::to(server.addresses()[1]);
        *sessions = sample(&metrics(&http).await, "fedecks_connected_devices");
    }
    sessions
}

/// Devices that are connected by the proxy, and what is kept for them.
async fn devices(proxy: &Proxy) -> Vec<(Device, Deliveries)> {
    let mut devices = Vec::new();
    for number in 0..DEVICES {
        let mut device = proxy.device_with(&format!("nerves-{number}"), |builder| builder).await;
        device.login().await;
        let deliveries = device.client.deliveries(Lane::Normal).unwrap();
        devices.push((device, deliveries));
    }
    devices
}

/// Sends each device its number.
async fn send(http: &Http, query: &str) {
    for number in 0..DEVICES {
        let messages = format!("/api/v1/devices/nerves-{number}/messages{query}");
        let sent = http.post(&messages, number.to_string()).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
    }
}

/// The line that a server logs once it has counted for this request.
async fn counted(server: &CloudProcess, request: u32) -> String {
    let start = format!("rebalances request={request} ");
    at_last("it counts its sessions", async || {
        server.log().lines().find(|line| line.contains(&start)).map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_server_that_came_later_gets_its_share_of_devices() {
    let Some(haproxy) = find("haproxy") else { return };
    let Some(fleet) = Fleet::start().await else { return };
    let one = fleet.server("one", METRICS).await;
    let later = SocketAddr::from((PROXY, free_port()));
    let proxy = in_front_of(&haproxy, [one.address, later]).await;
    let mut devices = devices(&proxy).await;
    let alone = one.program.fails(&["node", "rebalance"], 1).await;
    assert!(alone.contains("fewer than two servers serve together"), "{alone}");

    let two = fleet.program(&fleet.url, "two", METRICS);
    let two = two.serve(&["--listen", &later.to_string()]).await;
    for server in [&one, &two] {
        let joined = async || (place(server).await["others"] == 1).then_some(());
        at_last("the servers reach each other", joined).await;
    }
    // The proxy takes the one with the fewest connections, once it knows it.
    let new = place(&two).await["epoch"].clone();
    let http = proxy.http();
    let is_known = async || {
        let answer = http.get("/readyz").await;
        (answer.status == StatusCode::OK && answer.json()["cluster"]["epoch"] == new).then_some(())
    };
    at_last("the proxy knows it", is_known).await;
    assert_eq!(sessions([&one, &two]).await, [20.0, 0.0]);

    // A second request while the first one is served does no harm. What is kept meanwhile arrives, once.
    let token = one.token("all", &["--role", "read", "--role", "send"]).await;
    let http = one.http().token(&token).json();
    two.program.run(&["node", "rebalance"], "").await;
    counted(&one, 1).await;
    one.program.run(&["node", "rebalance"], "").await;
    send(&http, "?keep=true").await;
    let balanced = async || {
        let [first, second] = sessions([&one, &two]).await;
        (first + second == 20.0 && (first - second).abs() <= 2.0).then_some(())
    };
    at_last("each has its share", balanced).await;
    for (number, (_, deliveries)) in devices.iter_mut().enumerate() {
        let delivery = tokio::time::timeout(PATIENCE, deliveries.next()).await.unwrap().unwrap();
        assert_eq!(delivery.parse(), Ok(number));
        delivery.ack();
    }

    // Once both have their share nothing moves.
    for server in [&one, &two] {
        counted(server, 2).await;
    }
    at_last("each has its share", balanced).await;
    let before = sessions([&one, &two]).await;
    two.program.run(&["node", "rebalance"], "").await;
    for server in [&one, &two] {
        let line = counted(server, 3).await;
        assert!(line.contains("fleet=20 servers=2 surplus=0"), "{line}");
    }
    assert_eq!(sessions([&one, &two]).await, before);
    let closed = "closed sessions, so that devices connect to other servers request=1 closed=10";
    assert!(one.log().contains(closed), "{}", one.log());

    // Every device is reached.
    send(&http, "").await;
    for (number, (device, deliveries)) in devices.iter_mut().enumerate() {
        device.until(|event| *event == Event::Message(u32::try_from(number).unwrap().into())).await;
        let more = tokio::time::timeout(std::time::Duration::from_millis(10), deliveries.next());
        assert!(more.await.is_err(), "what is kept is delivered once");
    }
}

#[tokio::test]
async fn devices_of_a_store_in_a_file_cannot_be_rebalanced() {
    let program = CloudProgram::configured(PROGRAM, "");
    within(program.add_account(USER, PASSWORD)).await;
    let error = program.fails(&["node", "rebalance"], 2).await;
    let expected = "`fedecks-cloud node rebalance` is for a store in a PostgreSQL database";
    assert!(error.contains(expected), "{error}");
}
