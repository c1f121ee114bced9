//! Which certificates of clients are accepted, made by openssl, and what is checked when a session is resumed.

use std::path::Path;
use std::sync::Arc;

use fedecks_edge::{ClientAuth, Listen, Peer, Server, Tls, serve};
use fedecks_testing::certificates::Certificate;
use fedecks_testing::openssl::{Issued, Key, OpensslAuthority, Request};
use fedecks_testing::wait::within;
use rustls::crypto::ring;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use warp::Filter;

use crate::support::{connect, loopback, shake_hands, until_closed};

/// A listener that takes client certificates, and who connects to it.
struct World {
    folder: tempfile::TempDir,
    own: Certificate,
    tls: Tls,
    server: Server,
}

const NOW: fn() -> u64 = fedecks_cloud::store::unix_now;

impl World {
    fn new(folder: tempfile::TempDir, auth: ClientAuth) -> Self {
        let own = Certificate::self_signed("localhost");
        let [certificate, key] = own.write(folder.path());
        let tls = Tls::from_pem_files(certificate, key).unwrap();
        let tls = tls.with_client_auth(auth).unwrap().with_ticket_secret(&[7; 32]);
        let server = start(&tls);
        Self { folder, own, tls, server }
    }

    fn client(&self, issued: Option<&Issued>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match issued {
            None => config.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::pem_file_iter(&issued.certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(&issued.key).unwrap();
                config.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        Arc::new(config).into()
    }

    /// What the filter sees of the client, and how it shook hands; `None` if TLS refused it.
    async fn ask(&self, client: &TlsConnector) -> Option<(String, HandshakeKind)> {
        ask(&self.server, client).await
    }

    async fn accepts(&self, issued: &Issued) -> bool {
        self.ask(&self.client(Some(issued))).await.is_some()
    }
}

/// `/` tells the certificate of the client, and why it is refused now.
fn start(tls: &Tls) -> Server {
    let filter = warp::ext::get::<Peer>().map(|peer: Peer| match peer.certificate {
        None => "none".to_owned(),
        Some(certificate) => {
            let name = certificate.common_name.clone().unwrap_or_default();
            match certificate.check(NOW()).and_then(|()| certificate.live().check(NOW())) {
                Ok(()) => format!("{name} is good"),
                Err(refused) => format!("{name} is {}: {refused}", refused.reason()),
            }
        }
    });
    serve(filter, Listen::tls(loopback().address, tls.clone())).unwrap()
}

async fn ask(server: &Server, client: &TlsConnector) -> Option<(String, HandshakeKind)> {
    let mut stream = shake_hands(client, connect(server).await).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    // With TLS 1.3 the client learns of a refusal when it reads.
    let mut answer = vec![0; 1];
    within(stream.read_exact(&mut answer)).await.ok()?;
    let answer = until_closed(&mut stream).await;
    let (_, text) = answer.split_once("\r\n\r\n")?;
    Some((text.to_owned(), stream.get_ref().1.handshake_kind().unwrap()))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_required_certificate_is_verified_in_the_handshake() {
    let folder = folder();
    let root = OpensslAuthority::new(folder.path(), "root");
    let middle = root.intermediate("middle");
    let stranger = OpensslAuthority::new(folder.path(), "stranger");
    let auth = ClientAuth::new(&root.certificate).with(|it| it.required = true);
    let world = World::new(folder, auth);
    let of = |name: &str| Request::new(name);
    for (what, issued, accepted) in [
        ("by the root", root.issue(&of("a")), true),
        ("by an intermediate", middle.issue(&of("a")), true),
        ("a key for P-384", root.issue(&of("a").with(|it| it.key_type = Key::P384)), true),
        ("a key for Ed25519", root.issue(&of("a").with(|it| it.key_type = Key::Ed25519)), true),
        ("a key for RSA", root.issue(&of("a").with(|it| it.key_type = Key::Rsa)), true),
        ("expired", root.issue(&of("a").with(|it| it.end = "20210101000000Z")), false),
        ("by a stranger", stranger.issue(&of("a")), false),
    ] {
        assert_eq!(world.accepts(&issued).await, accepted, "{what}");
    }
    let refused = || world.server.monitor().stats().client_certificate;
    assert_eq!(refused(), 2);
    assert_eq!(world.ask(&world.client(None)).await, None, "without any");
    assert_eq!(refused(), 3);
}

#[tokio::test]
async fn without_a_certificate_an_optional_one_is_none() {
    let folder = folder();
    let root = OpensslAuthority::new(folder.path(), "root");
    let issued = root.issue(&Request::new("kitchen-1"));
    let world = World::new(folder, ClientAuth::new(&root.certificate));
    let answers = [world.client(None), world.client(Some(&issued))];
    let mut seen = Vec::new();
    for client in &answers {
        seen.push(world.ask(client).await.unwrap().0);
    }
    assert_eq!(seen, ["none", "kitchen-1 is good"]);
}

#[tokio::test]
async fn a_resumed_session_is_checked_again() {
    let folder = folder();
    let root = OpensslAuthority::new(folder.path(), "root");
    let middle = root.intermediate("middle");
    let one = root.issue(&Request::new("one"));
    let other = middle.issue(&Request::new("other"));
    let crls = vec![root.crl(), middle.crl()];
    let auth = ClientAuth::new(&root.certificate).with(|it| (it.required, it.crls) = (true, crls));
    let world = World::new(folder, auth);
    let [client, other_client] = [&one, &other].map(|issued| world.client(Some(issued)));
    let good = |name: &str, kind| Some((format!("{name} is good"), kind));
    assert_eq!(world.ask(&client).await, good("one", HandshakeKind::Full));
    assert_eq!(world.ask(&client).await, good("one", HandshakeKind::Resumed));
    assert_eq!(world.ask(&other_client).await, good("other", HandshakeKind::Full));

    root.revoke(&one.certificate);
    root.crl();
    assert!(world.tls.reload_if_changed().unwrap());
    let (seen, kind) = world.ask(&client).await.unwrap();
    assert!(seen.starts_with("one is revoked: it, or an authority between"), "{seen}");
    assert_eq!(kind, HandshakeKind::Resumed);
    assert!(!world.accepts(&one).await, "a full handshake");
    // The same key in another certificate is another matter.
    let again = root.issue(&Request::new("one").with(|it| it.key = Some(&one.key)));
    assert!(world.accepts(&again).await);

    assert_eq!(world.ask(&other_client).await, good("other", HandshakeKind::Resumed));
    root.revoke(&middle.certificate);
    root.crl();
    world.tls.reload().unwrap();
    let (seen, _) = world.ask(&other_client).await.unwrap();
    assert!(seen.starts_with("other is revoked"), "{seen}");
    assert!(!world.accepts(&other).await);

    // The authority is replaced.
    let next = OpensslAuthority::new(world.folder.path(), "next");
    std::fs::copy(&next.certificate, &root.certificate).unwrap();
    world.tls.reload().unwrap();
    let (seen, kind) = world.ask(&client).await.unwrap();
    assert!(seen.starts_with("one is unknown-issuer: neither it nor"), "{seen}");
    assert_eq!(kind, HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_list_counts_until_the_next_one_is_due() {
    let folder = folder();
    let root = OpensslAuthority::new(folder.path(), "root");
    let issued = root.issue(&Request::new("one"));
    let gone = root.issue(&Request::new("gone"));
    root.revoke(&gone.certificate);
    let crl = root.crl_until("20210101000000Z");
    let auth = ClientAuth::new(&root.certificate).with(|it| it.crls = vec![crl.clone()]);
    let world = World::new(folder, auth.clone());
    assert!(!world.accepts(&issued).await);
    let [finding] = &*world.tls.client_auth_findings(NOW()) else { panic!("one finding") };
    let text = "was due at 2021-01-01T00:00:00Z, so every certificate that it issued is refused";
    assert!(finding.text.contains(text), "{}", finding.text);

    let accepting = auth.with(|it| it.accept_expired_crls = true);
    let tls =
        Tls::from_pem_files(world.folder.path().join("c.pem"), world.folder.path().join("k.pem"));
    let server = start(&tls.unwrap().with_client_auth(accepting).unwrap());
    assert!(ask(&server, &world.client(Some(&issued))).await.is_some());
    assert_eq!(ask(&server, &world.client(Some(&gone))).await, None);

    root.crl();
    assert!(world.tls.reload_if_changed().unwrap());
    assert!(world.accepts(&issued).await);
    assert!(!world.accepts(&gone).await);

    // Without a list of the issuer it is not known.
    let stranger = OpensslAuthority::new(world.folder.path(), "stranger");
    std::fs::copy(stranger.crl(), &crl).unwrap();
    world.tls.reload().unwrap();
    assert!(!world.accepts(&issued).await);
}

/// A device that resumes at a listener of another kind, with the same secret.
#[tokio::test]
async fn a_session_without_a_certificate_opens_no_other_listener() {
    let folder = folder();
    let root = OpensslAuthority::new(folder.path(), "root");
    let optional = ClientAuth::new(&root.certificate);
    let required = optional.clone().with(|it| it.required = true);
    let world = World::new(folder, optional);
    let client = world.client(None);
    assert_eq!(world.ask(&client).await.unwrap().1, HandshakeKind::Full);
    assert_eq!(world.ask(&client).await.unwrap().1, HandshakeKind::Resumed);
    let at = |name: &str| world.folder.path().join(name);
    let tls = Tls::from_pem_files(at("c.pem"), at("k.pem")).unwrap();
    let tls = tls.with_client_auth(required).unwrap().with_ticket_secret(&[7; 32]);
    assert_eq!(ask(&start(&tls), &client).await, None);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = folder();
    let own = Certificate::self_signed("localhost");
    let files = own.write(folder.path());
    let root = OpensslAuthority::new(folder.path(), "root");
    let error = |authorities: &Path, crl: Option<&Path>| {
        let crls = crl.into_iter().map(Path::to_owned).collect();
        let auth = ClientAuth::new(authorities).with(|it| it.crls = crls);
        let tls = Tls::from_pem_files(&files[0], &files[1]).unwrap();
        let error = tls.with_client_auth(auth).unwrap_err();
        let named = error.client_file().map(Path::to_owned);
        (error.to_string(), named)
    };
    let nothing = folder.path().join("nothing");
    std::fs::write(&nothing, "nothing").unwrap();
    for (authorities, crl, at_fault, expected) in [
        (&*nothing, None, &*nothing, "cannot read PEM certificates of client authorities from"),
        (&root.certificate, Some(&*nothing), &nothing, "cannot read a certificate revocation list"),
        (&root.certificate, Some(&files[0]), &files[0], "the file contains none, but certificates"),
    ] {
        let (text, named) = error(authorities, crl);
        assert!(text.contains(expected), "{text}");
        assert_eq!(named.as_deref(), Some(at_fault), "{text}");
    }
}
