//! The certificates of the server: generated, near their end, reloaded.

use std::fs;

use fedecks_cloud::store::unix_now;
use fedecks_testing::certificates::{Certificate, DAY, client_config};
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::http::Http;
use http::StatusCode;
use nix::sys::signal::Signal;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::{LISTEN, PROGRAM, Systemd};

/// Asserts that a client that trusts only this certificate reaches the server under the name.
async fn is_trusted(server: &CloudProcess, name: &str, trusted: &CertificateDer<'static>) {
    let origin = format!("https://{name}:{}", server.address.port());
    let http = Http::with(origin, client_config([trusted]), |builder| builder);
    assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
}

/// With the files of [`Certificate::write`].
fn with_files() -> CloudProgram {
    let program = CloudProgram::new(PROGRAM).variable("FEDECKS_TLS_CERTIFICATE", "c.pem");
    program.variable("FEDECKS_TLS_KEY", "k.pem")
}

#[tokio::test]
async fn a_self_signed_server_is_trusted_by_its_authority() {
    let program = CloudProgram::new(PROGRAM);
    let server = program.serve(&[&LISTEN[..], &["--self-signed"]].concat()).await;
    let authority = server.program.folder.path().join("fedecks-data/self-signed/ca.pem");
    let authority = CertificateDer::from_pem_file(authority).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        is_trusted(&server, name, &authority).await;
    }
}

#[tokio::test]
async fn a_certificate_that_expires_soon_or_has_expired_is_logged() {
    let now = unix_now();
    for (end, logged) in [(now + 13 * DAY, "expires soon"), (now - DAY, "has expired")] {
        let program = with_files();
        Certificate::valid("localhost", now - 2 * DAY..end).write(program.folder.path());
        let line = program.serve(&LISTEN).await.logs(logged).await;
        assert!(line.contains("certificate=\"c.pem\" expires=\"20"), "{line}");
    }
}

#[tokio::test]
async fn certificates_are_reloaded_on_change_and_on_sighup() {
    let (systemd, program) = Systemd::listen(with_files());
    let folder = program.folder.path().to_owned();
    let change = || {
        let certificate = Certificate::self_signed("localhost");
        certificate.write(&folder);
        certificate.der
    };
    let first = change();
    let mut server = program.serve(&LISTEN).await;
    assert!(systemd.received().starts_with("READY=1\n"));
    is_trusted(&server, "localhost", &first).await;

    let second = change();
    server.logs("reloaded the certificate").await;
    is_trusted(&server, "localhost", &second).await;

    // A certificate that cannot be used is logged, and the previous one stays.
    fs::write(folder.join("c.pem"), "nothing").unwrap();
    server.signal(Signal::SIGHUP);
    server.logs("SIGHUP: reloading the certificates").await;
    let line = server.logs("cannot reload the certificate, keeping the previous one").await;
    assert!(line.contains("c.pem"), "{line}");
    let reloading = systemd.received();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{reloading}");
    assert_eq!(systemd.received(), "READY=1");
    is_trusted(&server, "localhost", &second).await;

    let third = change();
    server.signal(Signal::SIGHUP);
    server.logs("reloaded the certificate").await;
    is_trusted(&server, "localhost", &third).await;
}
