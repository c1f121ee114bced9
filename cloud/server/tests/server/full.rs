//! A server that is at its limit of connections.

use std::net::SocketAddr;

use fedecks_testing::http::Http;
use fedecks_testing::wait::within;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{METRICS, Server, metrics, sample};

/// A request that is never complete: its connection is not idle.
async fn hold(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    stream
}

/// The response of `/healthz` on a new connection, as far as it came.
async fn health(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn metrics_and_health_are_served_above_the_connection_limit() {
    let public = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let limits = "[limits]\nconnections = 3\n";
    let server = Server::with(&format!("{public}{METRICS}{limits}")).await;
    let [public, monitoring] = server.addresses()[1..] else { panic!() };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(hold(public).await);
    }
    let http = Http::to(monitoring);
    assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
    let full = "fedecks_turned_away_total{reason=\"connections\"}";
    assert_eq!(sample(&metrics(&http).await, full), 0.0);
    let answer = health(public).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
    assert!(answer.contains("\r\nretry-after: 10\r\n"), "{answer:?}");
    assert_eq!(sample(&metrics(&http).await, full), 1.0);
    drop(held);
    http.until_status("/healthz", StatusCode::OK).await;
}
