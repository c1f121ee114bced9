//! Connections without a request: how long they last, who gives way, and how they end.

use std::time::{Duration, Instant};

use fedecks_edge::{ServeLimits, ServeOptions, Server, serve};
use fedecks_testing::wait::{PATIENCE, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    BIG, SOON, all_closed, ask, connect, connect_from, filter, impatient, loopback, start,
    until_closed, upgrade, upgraded,
};

const CLOSE: &str = "\r\nconnection: close\r\n";

/// A limit that is not met here.
fn patient() -> ServeLimits {
    ServeLimits::default().with(|it| it.handshake = PATIENCE * 6)
}

/// A connection whose request was answered.
async fn idle(server: &Server) -> TcpStream {
    let mut stream = connect(server).await;
    let answer = ask(&mut stream, "/who", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    stream
}

#[tokio::test]
async fn an_idle_connection_outlives_the_timeout_of_heads() {
    let server = start(impatient(), None);
    let mut stream = connect(&server).await;
    for _ in 0..2 {
        let answer = ask(&mut stream, "/who", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains(CLOSE), "{answer}");
        tokio::time::sleep(SOON * 2).await;
    }
    // The next head has to be complete in time nevertheless.
    let begun = Instant::now();
    stream.write_all(b"GET /who HTTP/1.1\r\n").await.unwrap();
    assert_eq!(until_closed(&mut stream).await, "");
    assert!((SOON..PATIENCE / 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    all_closed(&server).await;
}

#[tokio::test]
async fn idle_connections_give_way_to_new_ones() {
    let server = start(patient().with(|it| it.connections = 4), None);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(idle(&server).await);
    }
    open.push(idle(&server).await);
    let _device = upgraded(&server).await;
    // The one that was idle for longest is closed, without an error.
    assert_eq!(until_closed(&mut open[0]).await, "");
}

#[tokio::test]
async fn one_address_has_an_eighth_of_its_connections_idle() {
    let server = start(patient().with(|it| it.connections_per_address = 16), None);
    let mut open = Vec::new();
    for number in 0..4 {
        let mut stream = connect_from("127.0.0.2", &server).await;
        let answer = ask(&mut stream, "/who", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(answer.contains(CLOSE), number >= 2, "{number}: {answer}");
        open.push(stream);
    }
    assert_eq!(until_closed(&mut open[3]).await, "");
    let mut other = connect_from("127.0.0.3", &server).await;
    assert!(!ask(&mut other, "/who", "").await.contains(CLOSE), "others are not affected");
    assert!(!ask(&mut open[0], "/who", "").await.contains(CLOSE), "its first stay");
}

#[tokio::test]
async fn a_request_on_its_way_when_the_server_stops_is_answered() {
    let mut server = start(patient(), None);
    let mut used = idle(&server).await;
    let mut unused = connect(&server).await;
    let mut silent = idle(&server).await;
    until(async || (server.connections() == 3).then_some(())).await;
    server.stop().await;
    for stream in [&mut used, &mut unused] {
        let answer = ask(stream, "/who", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(CLOSE), "{answer}");
        assert_eq!(until_closed(stream).await, "");
    }
    assert_eq!(until_closed(&mut silent).await, "");
    assert_eq!(within(server.closed(PATIENCE)).await, 0);
}

#[tokio::test]
async fn a_trusted_proxy_keeps_its_idle_connections() {
    let limits = patient().with(|it| {
        it.connections = 8;
        it.connections_per_address = 1;
    });
    let options = ServeOptions::from(loopback()).with(|it| {
        it.trusted_proxies = vec!["127.0.0.2/32".parse().unwrap()];
        it.limits = limits;
    });
    let server = serve(filter(), options).unwrap();
    let mut pool = Vec::new();
    for number in 0..4 {
        let mut stream = connect_from("127.0.0.2", &server).await;
        let client = format!("x-forwarded-for: 203.0.113.{number}\r\n");
        let answer = ask(&mut stream, "/who", &client).await;
        assert!(!answer.contains(CLOSE), "{number}: {answer}");
        pool.push((stream, client));
    }
    // Others that are idle give way first.
    let mut strangers = Vec::new();
    for address in ["127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"] {
        let mut stream = connect_from(address, &server).await;
        ask(&mut stream, "/who", "").await;
        strangers.push(stream);
        // Closed ones still have a place for a moment: with several of them the server would be full for the next, and
        // close a proxy's if this one does not count as idle yet.
        until(async || {
            let stats = server.monitor().stats();
            (stats.connections == 5 && stats.idle == 5).then_some(())
        })
        .await;
    }
    assert_eq!(until_closed(&mut strangers[0]).await, "");
    for (stream, client) in &mut pool {
        assert!(ask(stream, "/who", client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn a_listener_with_a_limit_of_its_own_is_not_affected() {
    let own = loopback().with(|it| it.connections = Some(2));
    let limits = patient().with(|it| {
        it.connections = 1;
        it.connections_per_address = 2;
    });
    let options = ServeOptions::from(vec![loopback(), own]).with(|it| it.limits = limits);
    let server = serve(filter(), options).unwrap();
    let _device = upgraded(&server).await;
    let mut number = TcpStream::connect(server.addresses()[1]).await.unwrap();
    assert!(ask(&mut number, "/number", "").await.contains("\r\n\r\n2 "));
    assert_eq!(server.connections(), 2);
    let mut second = TcpStream::connect(server.addresses()[1]).await.unwrap();
    upgrade(&mut second, "").await;
    assert_eq!(until_closed(&mut number).await, "", "the idle one gives way");
    let stats = server.monitor().stats();
    assert_eq!((stats.accepted, stats.full, stats.idle), (3, 0, 0));
}

#[tokio::test]
async fn a_full_server_answers_503_in_plain_http() {
    let server = start(patient().with(|it| it.connections = 1), None);
    let _device = upgraded(&server).await;
    let mut second = connect(&server).await;
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = until_closed(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer:?}");
    assert!(answer.contains("\r\nretry-after: 10\r\n") && answer.contains(CLOSE), "{answer:?}");
}

/// Longer than the server takes to close an idle connection, also when it stops.
const UNREAD: Duration = Duration::from_millis(2500);

/// Reads a response only after a time in which the server closes idle connections; whether it is complete.
async fn read_late(limits: ServeLimits, stops: bool) -> bool {
    let mut server = start(limits, None);
    let mut slow = connect(&server).await;
    slow.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    slow.readable().await.unwrap();
    let _others = [idle(&server).await, idle(&server).await, idle(&server).await];
    if stops {
        server.stop().await;
    }
    tokio::time::sleep(UNREAD).await;
    let mut body = vec![0; BIG];
    let read = async {
        while slow.read_u8().await? != b'x' {}
        slow.read_exact(&mut body[1..]).await
    };
    within(read).await.is_ok()
}

#[tokio::test]
async fn a_response_is_sent_to_its_end_however_slowly_it_is_read() {
    let complete = tokio::join!(
        read_late(patient().with(|it| it.http_idle = SOON), false),
        read_late(patient().with(|it| it.connections = 16), false),
        read_late(patient(), true),
    );
    assert_eq!(complete, (true, true, true), "after its idle time, with others idle, at the stop");
}
