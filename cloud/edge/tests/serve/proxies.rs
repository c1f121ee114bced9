//! Behind load balancers and reverse proxies.

use std::time::Instant;

use fedecks_edge::{Listen, ServeLimits, ServeOptions, Server, Tls, serve};
use fedecks_testing::certificates::Certificate;
use fedecks_testing::wait::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    SOON, all_closed, ask, connect, connect_from, connector, echoes, filter, impatient, loopback,
    shake_hands, start, until_closed, upgrade, who,
};

/// Trusts 127.0.0.1 and 10.0.0.0/8.
fn behind(listen: Listen, limits: ServeLimits) -> Server {
    let trusted_proxies = ["127.0.0.1/32", "10.0.0.0/8"].map(|net| net.parse().unwrap()).to_vec();
    let options = ServeOptions::from(listen).with(|it| {
        it.trusted_proxies = trusted_proxies;
        it.limits = limits;
    });
    serve(filter(), options).unwrap()
}

fn balanced(tls: Option<Tls>, limits: ServeLimits) -> Server {
    behind(
        loopback().with(|it| {
            it.proxy_protocol = true;
            it.tls = tls;
        }),
        limits,
    )
}

/// A PROXY header of version 2 for a client with this IPv4 address and the port 4711.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb]);
    header
}

const CLIENT: [u8; 4] = [203, 0, 113, 5];

async fn balanced_stream(server: &Server, client: [u8; 4]) -> TcpStream {
    let mut stream = connect(server).await;
    stream.write_all(&header(client)).await.unwrap();
    stream
}

#[tokio::test]
async fn the_proxy_header_names_the_client() {
    let server = balanced(None, ServeLimits::default());
    let forwarded = "x-forwarded-for: 203.0.113.9\r\n";
    for (header, piece, headers, client) in [
        (header(CLIENT), 28, "", "203.0.113.5:4711"),
        (header(CLIENT), 9, "", "203.0.113.5:4711"),
        // Only a trusted proxy behind the load balancer is believed.
        (header(CLIENT), 28, forwarded, "203.0.113.5:4711"),
        (header([10, 1, 1, 1]), 28, forwarded, "203.0.113.9:0"),
    ] {
        let mut stream = connect(&server).await;
        for piece in header.chunks(piece) {
            stream.write_all(piece).await.unwrap();
        }
        let expected = format!("{client} via 127.0.0.1, encrypted: false, listener 0");
        assert_eq!(who(&mut stream, headers).await, expected);
    }

    let mut health_check = connect(&server).await;
    let own = health_check.local_addr().unwrap();
    health_check.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await.unwrap();
    let expected = format!("{own} via none, encrypted: false, listener 0");
    assert_eq!(who(&mut health_check, "").await, expected);
}

#[tokio::test]
async fn tls_follows_the_proxy_header() {
    let certificate = Certificate::self_signed("localhost");
    let server = balanced(Some(certificate.tls()), ServeLimits::default());
    let stream = balanced_stream(&server, CLIENT).await;
    let mut stream = shake_hands(&connector(&[&certificate]), stream).await.unwrap();
    let expected = "203.0.113.5:4711 via 127.0.0.1, encrypted: true, listener 0";
    assert_eq!(who(&mut stream, "").await, expected);
}

#[tokio::test]
async fn a_proxy_header_from_an_untrusted_address_is_not_read() {
    let server = balanced(None, ServeLimits::default());
    let mut stream = connect_from("127.0.0.2", &server).await;
    let _ = stream.write_all(&header(CLIENT)).await;
    assert_eq!(until_closed(&mut stream).await, "");
    all_closed(&server).await;
}

#[tokio::test]
async fn a_connection_without_a_valid_header_is_closed() {
    let server = balanced(None, ServeLimits::default());
    let mut too_long = header(CLIENT);
    too_long[14..16].copy_from_slice(&[0xff, 0xff]);
    let mut unknown_family = header(CLIENT);
    unknown_family[13] = 0x91;
    for wrong in [
        b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.5 127.0.0.1 4711 443\r\nGET /who HTTP/1.1\r\n\r\n".to_vec(),
        too_long,
        unknown_family,
    ] {
        let mut stream = connect(&server).await;
        let _ = stream.write_all(&wrong).await;
        assert_eq!(until_closed(&mut stream).await, "");
    }
    all_closed(&server).await;
}

#[tokio::test]
async fn an_incomplete_header_is_closed_after_the_timeout() {
    let server = balanced(None, impatient());
    for part in [0, 5, 16, 27] {
        let start = Instant::now();
        let mut stream = connect(&server).await;
        stream.write_all(&header(CLIENT)[..part]).await.unwrap();
        assert_eq!(until_closed(&mut stream).await, "");
        assert!(start.elapsed() >= SOON, "{:?}", start.elapsed());
    }
    all_closed(&server).await;
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_of_each_request() {
    let server = behind(loopback(), ServeLimits::default());
    let mut stream = connect(&server).await;
    let own = &*format!("{} via none", stream.local_addr().unwrap());
    let list = "x-forwarded-for: 6.6.6.6, 203.0.113.6, 10.1.1.1\r\nx-forwarded-proto: https\r\n";
    for (headers, client, encrypted) in [
        ("x-forwarded-for: 203.0.113.5\r\n", "203.0.113.5:0 via 127.0.0.1", false),
        (list, "203.0.113.6:0 via 127.0.0.1", true),
        ("x-forwarded-for: [2001:db8::1]:80\r\n", "[2001:db8::1]:80 via 127.0.0.1", false),
        ("", own, false),
        ("x-forwarded-for: garbage\r\n", own, false),
    ] {
        let expected = format!("{client}, encrypted: {encrypted}, listener 0");
        assert_eq!(who(&mut stream, headers).await, expected);
    }
}

#[tokio::test]
async fn an_untrusted_client_cannot_name_itself() {
    let headers = "x-forwarded-for: 203.0.113.5\r\nx-forwarded-proto: https\r\n";
    let trusting = behind(loopback(), ServeLimits::default());
    let by_default = start(ServeLimits::default(), None);
    for (mut stream, from) in [
        (connect_from("127.0.0.2", &trusting).await, "127.0.0.2"),
        (connect_from("127.0.0.1", &by_default).await, "127.0.0.1"),
    ] {
        let port = stream.local_addr().unwrap().port();
        let expected = format!("{from}:{port} via none, encrypted: false, listener 0");
        assert_eq!(who(&mut stream, headers).await, expected);
    }
}

#[tokio::test]
async fn the_clients_of_a_load_balancer_are_counted_separately() {
    let limits = ServeLimits::default().with(|it| it.connections_per_address = 1);
    let server = balanced(None, limits);
    let mut first = balanced_stream(&server, CLIENT).await;
    upgrade(&mut first, "").await;
    let mut second = balanced_stream(&server, CLIENT).await;
    assert_eq!(until_closed(&mut second).await, "");
    let mut other = balanced_stream(&server, [203, 0, 113, 6]).await;
    upgrade(&mut other, "").await;
    assert!(echoes(&mut first).await);
}

#[tokio::test]
async fn the_clients_of_a_proxy_are_counted_separately() {
    let limits = ServeLimits::default().with(|it| it.connections_per_address = 1);
    let server = behind(loopback(), limits);
    let (one, other) = ("x-forwarded-for: 203.0.113.5\r\n", "x-forwarded-for: 203.0.113.6\r\n");
    let mut open = connect(&server).await;
    upgrade(&mut open, one).await;

    // The proxy has many connections; this one serves one client and then another.
    let mut stream = connect(&server).await;
    let answer = ask(&mut stream, "/who", one).await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 10\r\n"), "{answer}");
    assert!(ask(&mut stream, "/who", other).await.starts_with("HTTP/1.1 200 OK\r\n"));

    drop(open);
    let mut again = connect(&server).await;
    // The server notices the close asynchronously.
    until(async || ask(&mut again, "/who", one).await.starts_with("HTTP/1.1 200 ").then_some(()))
        .await;
}
