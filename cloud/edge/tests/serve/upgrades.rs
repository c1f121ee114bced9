//! Upgrades that are accepted before HTTP, and what is left to the filter.

use std::time::Instant;

use fedecks_edge::{ServeLimits, ServeOptions, serve};
use tokio::io::AsyncWriteExt;

use crate::support::{
    SOON, all_closed, connect, filter, impatient, loopback, shake_hands, start, start_tls,
    until_closed, who,
};

const REQUEST: &str = "GET /direct HTTP/1.1\r\nHost: x\r\nX-Other: y\r\n";

#[tokio::test]
async fn an_upgrade_is_accepted_with_what_follows_its_head() {
    let server = start(ServeLimits::default(), None);
    let mut stream = connect(&server).await;
    let request = format!("{REQUEST}host: z\r\n\r\nmore");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(until_closed(&mut stream).await, r#"direct 127.0.0.1 ["x", "z"] "more""#);
    all_closed(&server).await;
}

#[tokio::test]
async fn an_upgrade_is_accepted_over_tls() {
    let (server, connector) = start_tls(ServeLimits::default());
    let mut stream = shake_hands(&connector, connect(&server).await).await.unwrap();
    stream.write_all(format!("{REQUEST}\r\n").as_bytes()).await.unwrap();
    assert_eq!(until_closed(&mut stream).await, r#"direct 127.0.0.1 ["x"] """#);
}

#[tokio::test]
async fn requests_of_another_form_reach_the_filter_whole() {
    let server = start(ServeLimits::default(), None);
    let many: String = (0..32).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(5000));
    let close = "connection: close\r\n";
    for request in [
        "POST /direct HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET /direct HTTP/1.0\r\n\r\n",
        "GET /direct?x HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET /direct HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "GET /direct HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /direct HTTP/1.1\r\nconnection: close\r\nexpect: 100-continue\r\n\r\n",
        &format!("GET /direct HTTP/1.1\r\n{close}{many}\r\n"),
        &format!("GET /direct HTTP/1.1\r\n{close}{long}\r\n"),
    ] {
        let mut stream = connect(&server).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = until_closed(&mut stream).await;
        assert!(answer.contains(" 404 "), "{request}: {answer}");
    }
    // Not the first of the connection.
    let mut stream = connect(&server).await;
    assert!(who(&mut stream, "").await.starts_with("127.0.0.1:"));
    stream.write_all(format!("{REQUEST}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.contains(" 404 "), "{answer}");
}

#[tokio::test]
async fn a_head_in_two_parts_reaches_the_filter_whole() {
    let server = start(ServeLimits::default(), None);
    for path in ["/direct", "/number"] {
        let mut stream = connect(&server).await;
        stream.write_all(format!("GET {path} HT").as_bytes()).await.unwrap();
        tokio::time::sleep(SOON).await;
        stream.write_all(b"TP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
        let answer = until_closed(&mut stream).await;
        let expected = if path == "/direct" { " 404 " } else { " 200 " };
        assert!(answer.contains(expected), "{answer}");
    }
}

#[tokio::test]
async fn requests_from_a_trusted_proxy_reach_the_filter() {
    let options = ServeOptions::from(loopback())
        .with(|it| it.trusted_proxies.push("127.0.0.1/32".parse().unwrap()));
    let server = serve(filter(), options).unwrap();
    let mut stream = connect(&server).await;
    stream.write_all(format!("{REQUEST}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.contains(" 404 "), "{answer}");
}

#[tokio::test]
async fn a_silent_client_is_closed_after_the_timeout_or_a_stop() {
    let server = start(impatient(), None);
    let begin = Instant::now();
    assert_eq!(until_closed(&mut connect(&server).await).await, "");
    assert!(begin.elapsed() >= SOON, "{:?}", begin.elapsed());
    let mut server = start(ServeLimits::default(), None);
    let mut stream = connect(&server).await;
    // A request in the last second is answered.
    let mut late = connect(&server).await;
    tokio::time::sleep(SOON).await;
    server.stop().await;
    late.write_all(b"GET /who HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut late).await.contains(" 200 "));
    assert_eq!(until_closed(&mut stream).await, "");
    all_closed(&server).await;
}
