//! Files of TLS that change while the service runs: they are used at the next attempt.

use std::fs;

use crate::support::PATIENCE;
use crate::support::fedecksd::{Fedecksd, Setup};
use crate::support::openssl::{Certificates, Server, replace};

/// A cloud that asks for a client certificate, which it prints, and a device that has `first`.
async fn scene(certificates: &Certificates) -> (Setup, Fedecksd, Server) {
    for name in ["server", "first", "second"] {
        let kind = if name == "server" { "server" } else { "client" };
        certificates.issue(name, "root", "P-256", "sha256", kind);
    }
    // It answers the upgrade with a page, so the device dials again and again.
    let arguments =
        "-cert server.pem -key server.key -Verify 1 -CAfile root.pem -www -num_tickets 0";
    let server = certificates.serve(arguments).await;
    let path = |name| certificates.path(name).to_str().unwrap().to_owned();
    for end in ["pem", "key"] {
        replace(
            &certificates.path(&format!("first.{end}")),
            &certificates.path(&format!("device.{end}")),
        );
    }
    replace(&certificates.path("root.pem"), &certificates.path("ca.pem"));
    let setup = Setup::new("")
        .line("url", &format!("wss://localhost:{}", server.port))
        .line("ca_file", &path("ca.pem"))
        .value("only_ca_file", "true")
        .line("client_cert", &path("device.pem"))
        .line("client_key", &path("device.key"))
        .with_credentials();
    let service = setup.start();
    (setup, service, server)
}

/// The name in the next certificate that a device presents.
async fn presented(server: &mut Server) -> String {
    server.prints("depth=0 CN = ").await.rsplit(' ').next().unwrap().to_owned()
}

/// Waits until the device presents this certificate.
async fn becomes(server: &mut Server, name: &str) {
    let presents = async { while presented(server).await != name {} };
    let in_time = tokio::time::timeout(PATIENCE, presents).await;
    assert!(in_time.is_ok(), "{name} was not presented");
}

#[tokio::test]
async fn a_renewed_client_certificate_is_used_without_a_restart() {
    let Some(certificates) = Certificates::new() else { return };
    let (_setup, mut service, mut server) = scene(&certificates).await;
    assert_eq!(presented(&mut server).await, "first");
    let device = |end: &str| certificates.path(&format!("device.{end}"));
    let second = |end: &str| certificates.path(&format!("second.{end}"));

    for end in ["pem", "key"] {
        replace(&second(end), &device(end));
    }
    becomes(&mut server, "second").await;
    assert!(service.logs("read again").await.contains("INFO"));

    // Half of a renewal: the certificate and the key do not match.
    let first = |end: &str| certificates.path(&format!("first.{end}"));
    replace(&first("pem"), &device("pem"));
    let warning = service.logs("cannot be used together").await;
    assert!(warning.contains("WARN") && warning.contains("previous"), "{warning}");
    service.logs("connection failed").await;
    assert_eq!(presented(&mut server).await, "second");
    replace(&first("key"), &device("key"));
    becomes(&mut server, "first").await;

    // Unreadable: the previous one is used, and the warning comes once.
    fs::write(device("pem"), "nonsense").unwrap();
    let warning = service.logs("cannot read a PEM certificate").await;
    assert!(warning.contains("WARN") && warning.contains("previous"), "{warning}");
    becomes(&mut server, "first").await;
    service.logs("connection failed").await;
    service.logs("connection failed").await;
    assert_eq!(service.log().matches("cannot read a PEM certificate").count(), 1);
}

#[tokio::test]
async fn a_replaced_ca_file_counts_without_a_restart() {
    let Some(certificates) = Certificates::new() else { return };
    let (_setup, mut service, mut server) = scene(&certificates).await;
    assert_eq!(presented(&mut server).await, "first");
    certificates.issue("other", "other", "P-256", "sha256", "authority");
    replace(&certificates.path("other.pem"), &certificates.path("ca.pem"));
    service.logs("not issued by an authority that this device trusts").await;
    fs::remove_file(certificates.path("ca.pem")).unwrap();
    service.logs("previous").await;
    // Never what was trusted before.
    service.logs("not issued by an authority that this device trusts").await;
    replace(&certificates.path("root.pem"), &certificates.path("ca.pem"));
    service.logs("unexpected HTTP status 200").await;
}
