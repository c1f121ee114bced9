//! The real HAProxy, which keeps connections to the server open and uses them for everybody's requests.

use std::time::Duration;

use fedecks_testing::http::Http;
use http::StatusCode;
use tokio::process::Command;

use crate::reverse_proxies::{PROXY, Proxy, TRUSTED, everything_goes_through, find};
use crate::support::{METRICS, Server, metrics, sample};

/// A frontend with TLS, and connections to the server that are kept for a minute.
fn configuration(proxy: &Proxy, server: &Server) -> String {
    let pair = ["c.pem", "k.pem"].map(|name| std::fs::read_to_string(proxy.file(name)).unwrap());
    std::fs::write(proxy.file("pair.pem"), pair.concat()).unwrap();
    format!(
        "defaults\n\
         mode http\n\
         option forwardfor\n\
         retries 0\n\
         timeout connect 5s\n\
         timeout client 60s\n\
         timeout server 60s\n\
         timeout tunnel 60s\n\
         http-reuse always\n\
         frontend public\n\
         bind {PROXY}:{} ssl crt {}\n\
         http-request set-header X-Forwarded-Proto https\n\
         default_backend fedecks\n\
         backend fedecks\n\
         server one {} pool-purge-delay 60s\n",
        proxy.port,
        proxy.file("pair.pem"),
        server.address
    )
}

/// HAProxy in front of a server.
async fn start(server: &Server) -> Option<Proxy> {
    let haproxy = find("haproxy")?;
    let mut proxy = Proxy::new();
    let file = proxy.file("haproxy.cfg");
    std::fs::write(&file, configuration(&proxy, server)).unwrap();
    proxy.run(Command::new(haproxy).args(["-db", "-f", &file])).await;
    Some(proxy)
}

#[tokio::test]
async fn haproxy_passes_everything_on_with_the_clients_address() {
    let server = Server::with(TRUSTED).await;
    let Some(proxy) = start(&server).await else { return };
    everything_goes_through(&server, &proxy).await;
}

#[tokio::test]
async fn haproxy_keeps_its_connections_to_the_server() {
    let short = "[limits]\nhandshake = \"300ms\"\n";
    let all = format!("{TRUSTED}{METRICS}{short}");
    let server = Server::with(&all).await;
    let Some(proxy) = start(&server).await else { return };
    // HAProxy has a connection now, and soon the client for the metrics has one.
    let (http, monitoring) = (proxy.http(), Http::to(server.addresses()[1]));
    let accepted = async || sample(&metrics(&monitoring).await, "fedecks_accepted_total");
    let before = accepted().await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
    }
    assert_eq!(accepted().await - before, 0.0, "new connections of HAProxy and for the metrics");
}
