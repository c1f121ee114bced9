//! Clients that take more than their share.

use std::time::{Duration, Instant};

use fedecks_edge::{Listen, ServeLimits, ServeOptions, serve};
use fedecks_testing::certificates::Certificate;
use fedecks_testing::wait::{PATIENCE, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    SOON, all_closed, ask, connect, connect_from, connector, echoes, filter, impatient, loopback,
    shake_hands, start, until_closed, upgrade, who,
};

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let limits = ServeLimits::default().with(|it| {
        it.connections = 4;
        it.connections_per_address = 2;
    });
    let server = start(limits, None);
    let upgraded_from = async |address: &str| {
        let mut stream = connect_from(address, &server).await;
        upgrade(&mut stream, "").await;
        stream
    };
    let mut open = [upgraded_from("127.0.0.2").await, upgraded_from("127.0.0.2").await];
    for _ in 0..3 {
        let mut one_too_many = connect_from("127.0.0.2", &server).await;
        assert_eq!(until_closed(&mut one_too_many).await, "");
    }
    let _other = upgraded_from("127.0.0.3").await;
    assert_eq!(server.connections(), 3);
    for stream in &mut open {
        assert!(echoes(stream).await, "the first ones are not affected");
    }

    drop(open);
    until(async || (server.connections() <= 1).then_some(())).await;
    upgraded_from("127.0.0.2").await;
}

#[tokio::test]
async fn a_connection_without_further_requests_is_closed() {
    let server = start(ServeLimits::default().with(|it| it.http_idle = SOON), None);
    let mut idle = connect(&server).await;
    assert!(ask(&mut idle, "/who", "").await.starts_with("HTTP/1.1 200 OK\r\n"));
    let begun = Instant::now();
    assert_eq!(until_closed(&mut idle).await, "");
    assert!(begun.elapsed() >= SOON / 2, "{:?}", begun.elapsed());
    all_closed(&server).await;
}

/// Sends a byte from time to time until the server closes; returns its answer and the time that took.
async fn drip(mut stream: TcpStream, bytes: &[u8]) -> (String, Duration) {
    let begun = Instant::now();
    let (mut reading, mut writing) = stream.split();
    let dripping = async {
        for byte in bytes {
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SOON / 10).await;
        }
        std::future::pending::<String>().await
    };
    let answer = tokio::select! {
        answer = until_closed(&mut reading) => answer,
        never = dripping => never,
    };
    (answer, begun.elapsed())
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_has_the_same_timeout() {
    let server = start(impatient(), None);
    let head = format!("GET /who HTTP/1.1\r\nhost: {}", "x".repeat(1000));
    let (answer, took) = drip(connect(&server).await, head.as_bytes()).await;
    assert_eq!(answer, "");
    assert!(took >= SOON && took < PATIENCE / 2, "{took:?}");
}

#[tokio::test]
async fn a_body_that_arrives_too_slowly_is_not_awaited() {
    let limits = ServeLimits::default().with(|it| it.request_body = SOON);
    let server = start(limits, None);
    let head = b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n";
    for body in [&[][..], &[b'x'; 50]] {
        let mut slow = connect(&server).await;
        slow.write_all(head).await.unwrap();
        let (answer, took) = drip(slow, body).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(took >= SOON, "{took:?}");
    }
    all_closed(&server).await;

    let mut quick = connect(&server).await;
    quick.write_all(&[&head[..], &[b'x'; 50]].concat()).await.unwrap();
    let mut answer = vec![0; 15];
    within(quick.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn every_listener_has_its_own_tls_and_number() {
    let certificate = Certificate::self_signed("localhost");
    let encrypted = loopback().with(|it| it.tls = Some(certificate.tls()));
    let ipv6 = Listen::plain("[::1]:0".parse().unwrap());
    let listen = vec![loopback(), encrypted, ipv6];
    let server = serve(filter(), listen).unwrap();
    let connect = async |listener: usize| {
        let stream = TcpStream::connect(server.addresses()[listener]).await.unwrap();
        let own = stream.local_addr().unwrap();
        let encrypted = listener == 1;
        (stream, format!("{own} via none, encrypted: {encrypted}, listener {listener}"))
    };
    let (mut plain, expected) = connect(0).await;
    assert_eq!(who(&mut plain, "").await, expected);
    let (stream, expected) = connect(1).await;
    let mut tls = shake_hands(&connector(&[&certificate]), stream).await.unwrap();
    assert_eq!(who(&mut tls, "").await, expected);
    let (mut ipv6, expected) = connect(2).await;
    assert_eq!(who(&mut ipv6, "").await, expected);
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_listener_has_its_ipv4_address() {
    let listen = vec![Listen::plain("[::]:0".parse().unwrap())];
    let limits = ServeLimits::default().with(|it| it.connections_per_address = 1);
    let options = ServeOptions::from(listen).with(|it| {
        it.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        it.limits = limits;
    });
    let server = serve(filter(), options).unwrap();
    let port = server.addresses()[0].port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let answer = who(&mut stream, "x-forwarded-for: 203.0.113.5\r\n").await;
    assert_eq!(answer, "203.0.113.5:0 via 127.0.0.1, encrypted: false, listener 0");
}
