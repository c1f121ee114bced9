//! What the log says about clients whose TLS handshake fails.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use fedecks_cloud::store::unix_now;
use fedecks_testing::certificates::{Certificate, DAY, client_config};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::wait::PATIENCE;
use rustls::{ClientConfig, ClientConnection};

use crate::{LISTEN, PROGRAM};

async fn serve(certificate: &Certificate, program: CloudProgram) -> CloudProcess {
    let program = program.variable("FEDECKS_TLS_CERTIFICATE", "c.pem");
    let program = program.variable("FEDECKS_TLS_KEY", "k.pem");
    certificate.write(program.folder.path());
    program.serve(&LISTEN).await
}

/// Sends these bytes, and reads until the server closes the connection.
fn send(address: SocketAddr, bytes: &[u8]) {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(bytes).unwrap();
    let _ = tcp.read_to_end(&mut Vec::new());
}

/// A handshake that the client or the server ends.
fn shake_hands(address: SocketAddr, name: &str, config: ClientConfig) {
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = rustls::Stream::new(&mut client, &mut tcp).read_to_end(&mut Vec::new());
    assert!(ended.is_err());
}

/// The first message of a client, in TLS's older form, with this version, cipher suite and extensions.
fn client_hello(version: [u8; 2], suite: [u8; 2], extensions: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, suite[0], suite[1], 1, 0]);
    hello.extend(length(extensions));
    hello.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(length(&hello));
    message.extend(hello);
    let mut record = vec![0x16, 3, 1];
    record.extend(length(&message));
    record.extend(message);
    record
}

#[tokio::test]
async fn a_failed_handshake_is_explained_in_the_log() {
    let certificate = Certificate::self_signed("localhost");
    let mut server = serve(&certificate, CloudProgram::new(PROGRAM)).await;
    let address = server.address;
    let trusted = || client_config([&certificate.der]);
    let with_http2 = || {
        let mut config = trusted();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    };
    // The groups X25519 and P-256, and the signature ECDSA with SHA-256.
    let extensions = [0, 10, 0, 6, 0, 4, 0, 29, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    let attempts: [(&dyn Fn(), &str); 6] = [
        (
            &|| send(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            "the client does not speak TLS; its URL",
        ),
        (
            &|| send(address, &client_hello([3, 2], [0, 0x2f], &[])),
            "offers only TLS 1.1 or older: update it",
        ),
        (
            &|| send(address, &client_hello([3, 3], [0, 0x2f], &extensions)),
            "no cipher suite or key exchange in common with the server: update it",
        ),
        (&|| shake_hands(address, "localhost", with_http2()), "configure it for HTTP/1.1"),
        (
            &|| shake_hands(address, "localhost", client_config([])),
            "does not trust the authority of the certificate: add the missing intermediate",
        ),
        (
            &|| shake_hands(address, "example.com", trusted()),
            "compare its names with the client's URL",
        ),
    ];
    for (attempt, problem) in attempts {
        attempt();
        let line = server.logs("the TLS handshake failed").await;
        assert!(line.contains(" INFO ") && line.contains(problem), "{line}");
        assert!(line.contains("peer=127.0.0.1:"), "{line}");
    }

    // A client that only goes away is not logged.
    drop(TcpStream::connect(address).unwrap());
    send(address, b"GET / HTTP/1.1\r\n\r\n");
    let line = server.logs("the TLS handshake failed").await;
    assert!(line.contains("does not speak TLS"), "{line}");
}

#[tokio::test]
async fn a_client_that_takes_the_certificate_for_expired_is_logged() {
    let now = unix_now();
    let certificate = Certificate::valid("localhost", now - 2 * DAY..now - DAY);
    let mut server = serve(&certificate, CloudProgram::new(PROGRAM)).await;
    shake_hands(server.address, "localhost", client_config([&certificate.der]));
    let line = server.logs("the TLS handshake failed").await;
    assert!(line.contains("renew it, or set the client's clock"), "{line}");
}

#[tokio::test]
async fn failed_handshakes_of_strangers_are_limited_in_the_log() {
    let program = CloudProgram::new(PROGRAM)
        .variable("FEDECKS_LOG_LINES_PER_SECOND", "1")
        .variable("FEDECKS_LOG_LINE_BURST", "2");
    let mut server = serve(&Certificate::self_signed("localhost"), program).await;
    let began = std::time::Instant::now();
    for _ in 0..50 {
        send(server.address, b"GET / HTTP/1.1\r\n\r\n");
    }
    server.logs("the TLS handshake failed").await;
    let lines = server.log().matches("the TLS handshake failed").count();
    let most = 3 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(lines <= most, "{lines} lines");
}

#[tokio::test]
async fn a_receiver_that_fails_the_handshake_is_explained() {
    // One that is not trusted, and one that does not speak TLS.
    let untrusted = serve(&Certificate::self_signed("localhost"), CloudProgram::new(PROGRAM)).await;
    let plain = CloudProgram::new(PROGRAM).serve(&LISTEN).await;
    for (receiver, problem) in [
        (
            &untrusted,
            "has a certificate of an authority that is not trusted: it has to send its intermediate",
        ),
        (&plain, "does not speak TLS at this port"),
    ] {
        let lines = format!(
            "[[webhook]]\nname = \"crm\"\nurl = \"https://localhost:{}/hook\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
            receiver.address.port()
        );
        let mut server = CloudProcess::start(PROGRAM, &lines).await;
        let _device = server.device("nerves-1").await;
        let line = server.logs("webhook delivery failed").await;
        assert!(line.contains(problem), "{line}");
    }
}
