//! What the service says when TLS fails: one sentence on what was wrong and what to do.

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::fedecksd::Setup;
use crate::support::openssl::Certificates;

/// The reason of the first failure of a device that trusts `root`.
async fn failure(certificates: &Certificates, port: u16) -> String {
    let setup = Setup::new("")
        .line("url", &format!("wss://localhost:{port}"))
        .line("ca_file", certificates.path("root.pem").to_str().unwrap())
        .value("only_ca_file", "true")
        .with_credentials();
    let mut service = setup.start();
    let line = service.logs("connection failed: ").await;
    service.kill().await;
    line.split_once("connection failed: ").unwrap().1.to_owned()
}

/// Each with the arguments of the server, and parts of the sentence.
const CASES: [(&str, &[&str]); 17] = [
    (
        "-cert sha512.pem -key sha512.key",
        &["a certificate of localhost is signed with ECDSA and SHA-512", "P-256 with SHA-256"],
    ),
    (
        "-cert under_p521.pem -key under_p521.key -cert_chain p521.pem",
        &["signed with ECDSA and SHA-512", "P-256 with SHA-256"],
    ),
    (
        "-cipher DEFAULT@SECLEVEL=0 -cert sha1.pem -key sha1.key -cert_chain sha1_chain.pem",
        &["signed with RSA and SHA-1", "P-256 with SHA-256"],
    ),
    (
        "-cert by_p521.pem -key by_p521.key -cert_chain p521.pem",
        &["signed with ECDSA and SHA-256 by a P-521 key", "P-256 with SHA-256"],
    ),
    ("-cert own_p521.pem -key own_p521.key", &["the server ended the handshake", "P-384"]),
    (
        "-cert small.pem -key small.key -cipher DEFAULT@SECLEVEL=0",
        &["RSA with less than 2048 bits"],
    ),
    (
        "-cert elsewhere.pem -key elsewhere.key",
        &[
            "the certificate is not for localhost, only for cloud.example.com, *.example.org, \
             192.0.2.7 and 2001:db8::7",
            "url",
        ],
    ),
    ("-cert nameless.pem -key nameless.key", &["the certificate has no names", "subjectAltName"]),
    ("-cert many.pem -key many.key", &["only for a1.test, a2.test, a3.test, a4.test and 2 more"]),
    (
        "-cert under_other.pem -key under_other.key",
        &["not issued by an authority that this device trusts", "sent no intermediate", "ca_file"],
    ),
    ("-cert client.pem -key client.key", &["not for servers", "serverAuth"]),
    ("-cert ca_as_server.pem -key ca_as_server.key", &["is that of an authority", "CA:FALSE"]),
    ("-cert deep.pem -key deep.key -cert_chain deep_chain.pem", &["path length", "higher one"]),
    ("-cert good.pem -key good.key -tls1_1 -cipher DEFAULT@SECLEVEL=0", &["TLS 1.2 or 1.3"]),
    (
        "-cert good.pem -key good.key -tls1_2 -cipher AES128-SHA",
        &["the server ended the handshake", "TLS 1.2 or 1.3"],
    ),
    (
        "-cert good.pem -key good.key -Verify 1 -verify_return_error -CAfile root.pem -tls1_2",
        &["client certificate", "client_cert"],
    ),
    (
        "-cert good.pem -key good.key -Verify 1 -verify_return_error -CAfile root.pem",
        &["client certificate", "client_cert"],
    ),
];

fn all() -> Option<Certificates> {
    let it = Certificates::new()?;
    for (name, issuer, key, hash, kind) in [
        ("good", "root", "P-256", "sha256", "server"),
        ("sha512", "root", "P-256", "sha512", "server"),
        ("p521", "root", "P-521", "sha256", "authority"),
        ("under_p521", "p521", "P-256", "sha512", "server"),
        ("by_p521", "p521", "P-256", "sha256", "server"),
        ("rsa", "root", "RSA-2048", "sha256", "authority"),
        ("sha1", "rsa", "P-256", "sha1", "server"),
        ("own_p521", "root", "P-521", "sha256", "server"),
        ("small", "root", "RSA-1024", "sha256", "server"),
        ("elsewhere", "root", "P-256", "sha256", "elsewhere"),
        ("nameless", "root", "P-256", "sha256", "nameless"),
        ("many", "root", "P-256", "sha256", "many"),
        ("other", "other", "P-256", "sha256", "authority"),
        ("under_other", "other", "P-256", "sha256", "server"),
        ("client", "root", "P-256", "sha256", "client"),
        ("ca_as_server", "root", "P-256", "sha256", "authority_as_server"),
        ("last", "root", "P-256", "sha256", "no_further_authority"),
        ("beyond", "last", "P-256", "sha256", "authority"),
        ("deep", "beyond", "P-256", "sha256", "server"),
    ] {
        it.issue(name, issuer, key, hash, kind);
    }
    let read = |name| std::fs::read_to_string(it.path(name)).unwrap();
    std::fs::write(it.path("deep_chain.pem"), [read("beyond.pem"), read("last.pem")].concat())
        .unwrap();
    std::fs::write(it.path("sha1_chain.pem"), read("rsa.pem")).unwrap();
    Some(it)
}

/// What programmers read: debug output of Rust, object identifiers.
fn is_plain(reason: &str) -> bool {
    !["Context", "[", "{", "AlertReceived", "Dns", "OID", "Error"]
        .iter()
        .any(|it| reason.contains(it))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_says_what_was_wrong_and_what_to_do() {
    let Some(certificates) = all() else { return };
    let certificates = &certificates;
    let mut wrong = Vec::new();
    // A few at a time: each is two processes.
    for cases in CASES.chunks(4) {
        wrong.extend(
            join_all(cases.iter().map(async |(arguments, parts)| {
                let server = certificates.serve(arguments).await;
                let reason = failure(certificates, server.port).await;
                let is_right = is_plain(&reason) && parts.iter().all(|part| reason.contains(part));
                (!is_right).then(|| format!("{arguments}: {reason}; expected {parts:?}"))
            }))
            .await,
        );
    }
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_does_not_speak_tls_is_called_that() {
    let Some(certificates) = Certificates::new() else { return };
    for (answer, parts) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], ["does not speak TLS at this port", "url"]),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ["does not speak TLS at this port", "url"]),
        (b"", ["closed the connection during the TLS handshake", "proxy"]),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        };
        let reason = tokio::select! {
            reason = failure(&certificates, port) => reason,
            () = answering => unreachable!(),
        };
        assert!(parts.iter().all(|part| reason.contains(part)), "{reason}");
        assert!(is_plain(&reason), "{reason}");
    }
}
