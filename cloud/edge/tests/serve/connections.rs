//! Connections from accept to close, and those that fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedecks_edge::{Listen, ServeLimits, serve};
use fedecks_testing::wait::{PATIENCE, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use warp::Filter;

use crate::support::{
    SOON, all_closed, ask, ask_number, connect, echoes, filter, impatient, loopback, shake_hands,
    start, start_tls, until_closed, upgraded,
};

#[tokio::test]
async fn the_filter_gets_the_peers_address_and_a_number() {
    let server = start(impatient(), None);
    for number in 1..=2 {
        let mut stream = connect(&server).await;
        let ours: SocketAddr = stream.local_addr().unwrap();
        let answer = ask_number(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{number} {ours}")), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_stops_is_closed_after_the_timeout() {
    let plain = start(impatient(), None);
    let (tls, connector) = start_tls(impatient());
    for (server, beginning) in [
        (&plain, &b""[..]),
        (&plain, b"GET /number HTTP/1.1\r\nhost: "),
        (&tls, b""),
        // The first bytes of a handshake record.
        (&tls, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]),
    ] {
        let start = Instant::now();
        let mut stream = connect(server).await;
        stream.write_all(beginning).await.unwrap();
        assert_eq!(until_closed(&mut stream).await, "");
        assert!(start.elapsed() >= SOON, "{beginning:?}: {:?}", start.elapsed());
        all_closed(server).await;
    }
    let mut silent_after_tls = shake_hands(&connector, connect(&tls).await).await.unwrap();
    assert_eq!(until_closed(&mut silent_after_tls).await, "");
}

#[tokio::test]
async fn a_client_that_sends_requests_but_never_reads_is_cut_off() {
    let server = start(ServeLimits::default().with(|it| it.stalled = SOON), None);
    let mut greedy = connect(&server).await;
    let requests = b"GET /number HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let asked = async { while greedy.write_all(&requests).await.is_ok() {} };
    within(asked).await;
    all_closed(&server).await;
}

#[tokio::test]
async fn a_malformed_request_is_answered_and_closed_at_once() {
    let limits = ServeLimits::default().with(|it| {
        it.request_head = 8192;
        it.handshake = PATIENCE * 6;
    });
    let plain = start(limits, None);
    let (tls, _) = start_tls(limits);
    let mut endless_head = b"GET /number HTTP/1.1\r\nhost: x\r\nx-endless: ".to_vec();
    endless_head.resize(8192, b'x');
    for (server, request, answered) in [
        (&plain, &b"\x00\x01\x02 garbage\r\n\r\n"[..], Some("HTTP/1.1 400 Bad Request\r\n")),
        (&plain, &endless_head, Some("HTTP/1.1 431 ")),
        (&tls, b"GET /number HTTP/1.1\r\nhost: x\r\n\r\n", None),
    ] {
        let mut stream = connect(server).await;
        stream.write_all(request).await.unwrap();
        let answer = until_closed(&mut stream).await;
        match answered {
            Some(status) => assert!(answer.starts_with(status), "{answer}"),
            None => assert!(!answer.contains("HTTP"), "{answer:?}"),
        }
    }
}

#[tokio::test]
async fn endless_handshake_messages_are_not_collected() {
    let (server, connector) = start_tls(impatient().with(|it| it.handshake = PATIENCE * 6));
    // A ClientHello of almost 64 KiB in records of 16 KiB.
    let hello = [&[1, 0, 0xff, 0xf0, 3, 3][..], &[0; 16_378]].concat();
    let rest = vec![0; 16_384];
    let mut endless = connect(&server).await;
    for content in [&hello, &rest, &rest] {
        let _ = endless.write_all(&[&[0x16, 3, 1, 0x40, 0][..], content].concat()).await;
    }
    assert!(!until_closed(&mut endless).await.contains("HTTP"));
    all_closed(&server).await;
    // Any number of long requests has content.
    let mut long = shake_hands(&connector, connect(&server).await).await.unwrap();
    let headers = format!("x-long: {}\r\n", "x".repeat(12_000));
    for _ in 0..8 {
        assert!(ask(&mut long, "/who", &headers).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_at_once() {
    let limits = ServeLimits::default().with(|it| {
        it.connections = 1;
        it.handshake = PATIENCE * 6;
    });
    let server = start(limits, None);
    let mut first = upgraded(&server).await;
    assert_eq!(server.connections(), 1);

    let mut second = connect(&server).await;
    assert_eq!(until_closed(&mut second).await, "");
    assert!(echoes(&mut first).await, "the first connection is not affected");

    first.shutdown().await.unwrap();
    until_closed(&mut first).await;
    all_closed(&server).await;
    upgraded(&server).await;
}

#[tokio::test]
async fn connections_above_the_rate_are_served_later() {
    let limits = ServeLimits::default().with(|it| {
        it.accepts_per_second = 5;
        it.accept_burst = 1;
    });
    let server = start(limits, None);
    let start = Instant::now();
    for _ in 0..4 {
        let answer = ask_number(&mut connect(&server).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    // The first passes immediately, each of the others after a fifth of a second.
    assert!(start.elapsed() >= Duration::from_millis(550), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_stopped_server_keeps_its_upgraded_connections() {
    let mut server = start(ServeLimits::default(), None);
    let mut open = upgraded(&server).await;
    let address = server.addresses()[0];
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    assert!(echoes(&mut open).await);
    assert_eq!(server.closed(Duration::from_millis(50)).await, 1);
    assert!(echoes(&mut open).await);
}

#[tokio::test]
async fn closing_waits_for_a_request_in_progress() {
    let gate = Arc::new(Semaphore::new(0));
    let (entered, mut entering) = tokio::sync::mpsc::channel(1);
    let slow = warp::any().then({
        let gate = gate.clone();
        move || {
            let (gate, entered) = (gate.clone(), entered.clone());
            async move {
                entered.send(()).await.unwrap();
                gate.acquire().await.unwrap().forget();
                "done"
            }
        }
    });
    let server = serve(slow, loopback()).unwrap();
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    within(entering.recv()).await.unwrap();

    let closed = tokio::spawn(server.closed(PATIENCE));
    gate.add_permits(1);
    let answer = until_closed(&mut stream).await;
    assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
    assert_eq!(within(closed).await.unwrap(), 0);
}

#[tokio::test]
async fn an_address_in_use_is_named_in_the_error() {
    let server = start(ServeLimits::default(), None);
    let error = serve(filter(), Listen::plain(server.addresses()[0])).unwrap_err();
    let expected = format!("cannot listen on {}: Address already in use", server.addresses()[0]);
    assert!(error.to_string().starts_with(&expected), "{error}");
}
