use std::fs;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::support::{Manager, Server, assert_answers, folder, program};

#[test]
fn a_self_signed_server_is_trusted_by_its_own_authority() {
    let folder = folder();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--self-signed"];
    let server = Server::start(program(folder.path(), &arguments));
    let mut roots = rustls::RootCertStore::empty();
    let authority = folder.path().join("fedecks-data/self-signed/ca.pem");
    let pem = fs::read(authority).unwrap();
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for name in ["localhost", "127.0.0.1"] {
        let name = name.to_owned().try_into().unwrap();
        let client = rustls::ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = rustls::StreamOwned::new(client, server.connect());
        assert_answers(&mut stream);
    }
}

#[test]
fn a_certificate_that_has_to_be_renewed_is_told_of() {
    let day = Duration::from_secs(24 * 3600);
    let now = rcgen::date_time_ymd(1970, 1, 1) + UNIX_EPOCH.elapsed().unwrap();
    for (end, told) in [(now + 13 * day, "expires soon"), (now - day, "has expired")] {
        let folder = folder();
        let keys = rcgen::KeyPair::generate().unwrap();
        let mut made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        made.not_after = end;
        fs::write(folder.path().join("c.pem"), made.self_signed(&keys).unwrap().pem()).unwrap();
        fs::write(folder.path().join("k.pem"), keys.serialize_pem()).unwrap();
        let mut command = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        command.env("FEDECKS_TLS_CERTIFICATE", "c.pem").env("FEDECKS_TLS_KEY", "k.pem");
        let line = Server::start(command).line_with(told);
        assert!(line.contains("certificate=\"c.pem\" expires=\"20"), "{line}");
    }
}

/// The certificate that a server shows, whoever issued it.
fn certificate_of(server: &Server) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    struct Anybody;
    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = server.connect();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    client.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn certificates_are_read_anew_by_sighup_and_when_a_file_changes_and_systemd_is_told() {
    let folder = folder();
    let manager = Manager::listen(folder.path());
    let put = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    };
    let change = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        put("k.pem", &made.key_pair.serialize_pem());
        put("c.pem", &made.cert.pem());
        made.cert.der().clone()
    };
    let first = change();
    let mut command = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("FEDECKS_TLS_CERTIFICATE", "c.pem")
        .env("FEDECKS_TLS_KEY", "k.pem")
        .env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mut server = Server::start(command);
    assert!(manager.told().starts_with("READY=1\n"));
    assert_eq!(certificate_of(&server), first);

    // By itself, some time later.
    let second = change();
    server.line_with("using the certificate as it is now");
    assert_eq!(certificate_of(&server), second);

    // What cannot be used is named, and the one before goes on.
    put("c.pem", "nothing");
    server.signal(Signal::SIGHUP);
    let line = server.line_with("going on with the certificate as it was before");
    assert!(line.contains("cannot read a PEM certificate from c.pem"), "{line}");
    let begun = manager.told();
    let time = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{begun}");
    assert_eq!(manager.told(), "READY=1");
    assert_eq!(certificate_of(&server), second);

    let third = change();
    server.signal(Signal::SIGHUP);
    server.line_with("using the certificate as it is now");
    assert_eq!(certificate_of(&server), third);
}
