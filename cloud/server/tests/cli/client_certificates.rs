//! Devices with client certificates: registered by them at once, without a token, and refused when those are revoked.

use std::path::Path;
use std::sync::Arc;

use fedecks_device::{Credentials, Identity, State, TlsOptions, Trust};
use fedecks_store::{
    Actor, DeviceStore, RegisteredBy, RegistrationStore, SqliteStore, StoreOptions, unix_now,
};
use fedecks_testing::certificates::Certificate;
use fedecks_testing::cloud_process::{CloudProcess, CloudProgram};
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::openssl::{Issued, OpensslAuthority, Request};
use fedecks_testing::wait::{until, within};
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use nix::sys::signal::Signal;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::PROGRAM;

/// A server that requires certificates of an authority, with a revocation list.
struct World {
    server: CloudProcess,
    authority: OpensslAuthority,
    store: SqliteStore,
}

impl World {
    async fn start(lines: &str) -> Self {
        let (program, authority) = configured(lines);
        program.add_account(USER, PASSWORD).await;
        let server = program.serve(&[]).await;
        let store = server.program.folder.path().join("fedecks-data/fedecks.sqlite");
        let store = SqliteStore::open_beside(&store, StoreOptions::default()).unwrap();
        Self { server, authority, store }
    }

    fn issue(&self, name: &str) -> Issued {
        self.authority.issue(&Request::new(name))
    }

    /// A device with this certificate, and without a token.
    async fn device(&self, id: &str, issued: &Issued) -> Device {
        let url = format!("wss://localhost:{}", self.server.addresses()[1].port());
        let trusted = self.folder().join("c.pem");
        let identity = Identity::new(&issued.certificate, &issued.key);
        let tls = TlsOptions::new(Trust::Only(trusted)).identity(identity);
        Device::start_with(&url, id, move |builder| builder.tls(tls.clone())).await
    }

    fn folder(&self) -> &Path {
        self.server.program.folder.path()
    }

    /// A client of the API with this certificate.
    fn http(&self, issued: &Issued) -> Http {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder().join("c.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let chain = CertificateDer::from_pem_file(&issued.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&issued.key).unwrap();
        let config = config.with_client_auth_cert(vec![chain], key).unwrap();
        let origin = format!("https://localhost:{}", self.server.addresses()[1].port());
        Http::with(origin, config, |builder| builder)
    }

    /// Waits until the store has the key of the device's certificate.
    async fn until_key_is(&self, id: &str, wanted: impl Fn([u8; 32]) -> bool) -> [u8; 32] {
        until(async || {
            let found = self.store.device(&id.parse().unwrap()).await.unwrap()?;
            found.certificate_key.filter(|key| wanted(*key))
        })
        .await
    }
}

/// A program that requires them, with these lines for its listener.
fn configured(lines: &str) -> (CloudProgram, OpensslAuthority) {
    let program = CloudProgram::configured(PROGRAM, "");
    let folder = program.folder.path().to_owned();
    Certificate::self_signed("localhost").write(&folder);
    let authority = OpensslAuthority::new(&folder, "factory");
    authority.crl();
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n\
         client_ca = \"factory/ca.pem\"\nclient_crl = [\"factory/crl.pem\"]\n{lines}\n"
    );
    let configuration = folder.join("cloud.toml");
    let text = std::fs::read_to_string(&configuration).unwrap() + listener.as_str();
    std::fs::write(configuration, text).unwrap();
    (program, authority)
}

/// Logs in by the certificate alone.
async fn login(device: &mut Device) {
    let logged_in = within(device.client.login(Credentials::new())).await;
    assert!(logged_in.unwrap().persisted);
    device.until_connected().await;
}

/// Why a login by the certificate alone is refused.
async fn refusal(device: &Device) -> String {
    within(device.client.login(Credentials::new())).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_device_is_registered_and_returns_by_its_certificate() {
    let mut world = World::start("client_register = true\nclient_replaces_token = true").await;
    let issued = world.issue("kitchen-1");
    let mut device = world.device("kitchen-1", &issued).await;
    login(&mut device).await;
    let line = world.server.logs("registered a device").await;
    assert!(line.contains("device=kitchen-1 by=certificate:"), "{line}");
    let line = world.server.logs(" connected").await;
    assert!(line.contains("by=certificate"), "{line}");
    let known = world.store.device(&"kitchen-1".parse().unwrap()).await.unwrap().unwrap();
    let key = known.certificate_key.unwrap();
    assert_eq!(known.registration.unwrap().by, RegisteredBy::Certificate { key });
    // By its token from then on.
    let mut device = device.restart().await;
    device.until_connected().await;
    let line = world.server.logs(" connected").await;
    assert!(line.contains("by=token"), "{line}");
    device.client.shutdown().await;

    // The data partition is gone, again and again.
    for _ in 0..2 {
        let mut wiped = world.device("kitchen-1", &issued).await;
        login(&mut wiped).await;
        let line = world.server.logs(" connected").await;
        assert!(line.contains("by=certificate"), "{line}");
    }

    // With a good token it may have a new key, which counts then.
    let mut device = world.device("kitchen-1", &issued).await;
    login(&mut device).await;
    let Device { client, data, .. } = device;
    client.shutdown().await;
    let renewed = world.issue("kitchen-1");
    let mut device = world.device("kitchen-1", &renewed).await;
    std::fs::copy(data.path().join("token"), device.data.path().join("token")).unwrap();
    device = device.restart().await;
    device.until_connected().await;
    world.until_key_is("kitchen-1", |now| now != key).await;
    device.client.shutdown().await;
    login(&mut world.device("kitchen-1", &renewed).await).await;
    let refused = refusal(&world.device("kitchen-1", &issued).await).await;
    assert!(refused.contains("the device id is registered already"), "{refused}");
}

#[tokio::test]
async fn a_certificate_is_good_for_its_device_until_it_is_revoked() {
    let mut world = World::start("client_register = true\nclient_cert = \"required\"").await;
    let issued = world.issue("kitchen-1");
    let other = world.device("kitchen-2", &issued).await;
    let refused = refusal(&other).await;
    assert!(refused.contains("certificate"), "{refused}");
    let line = world.server.logs("refused the certificate of a device").await;
    assert!(line.contains("it is for \\\"kitchen-1\\\", expected the device id"), "{line}");
    // Nor with a right password.
    let refused = other.try_login(USER, PASSWORD).await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");

    let mut device = world.device("kitchen-1", &issued).await;
    login(&mut device).await;
    let id = "kitchen-1".parse().unwrap();
    world.store.revoke(&id, &Actor::cli()).await.unwrap();
    device.until_lost().await;
    let refused = refusal(&device).await;
    assert!(refused.contains("certificate"), "{refused}");
    // The key stays refused after the device was forgotten.
    world.store.forget(&id, &Actor::cli()).await.unwrap();
    let refused = refusal(&device).await;
    assert!(refused.contains("certificate"), "{refused}");
    let renewed = world.issue("kitchen-1");
    let mut device = world.device("kitchen-1", &renewed).await;
    login(&mut device).await;
    world.store.revoke(&id, &Actor::cli()).await.unwrap();
    device.until_lost().await;
    let until = unix_now() + 60;
    assert!(world.store.allow_reregistration(&id, until, &Actor::cli()).await.unwrap());
    login(&mut device).await;
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_session() {
    let mut world = World::start("client_register = true\nclient_cert = \"required\"").await;
    let [issued, other] = ["kitchen-1", "kitchen-2"].map(|name| world.issue(name));
    let mut device = world.device("kitchen-1", &issued).await;
    login(&mut device).await;
    let mut stays = world.device("kitchen-2", &other).await;
    login(&mut stays).await;
    // On a connection that stays open.
    let http = world.http(&issued);
    assert_eq!(http.get("/api/v1/devices").await.status, StatusCode::UNAUTHORIZED);

    world.authority.revoke(&issued.certificate);
    world.authority.crl();
    world.server.signal(Signal::SIGHUP);
    let line = world.server.logs("closing a session, its certificate is refused").await;
    assert!(line.contains("device=kitchen-1 reason=\"revoked\""), "{line}");
    device.until_lost().await;
    assert_eq!(http.get("/api/v1/devices").await.status, StatusCode::NOT_FOUND);
    // It resumes its TLS session, in which TLS verifies nothing again.
    device.client.reconnect().await.unwrap();
    let line = world.server.logs("refused the certificate of a device").await;
    assert!(line.contains("device=kitchen-1") && line.contains("reason=\"revoked\""), "{line}");
    let line = world.server.logs("refused a connection").await;
    assert!(line.contains("reason=\"certificate-refused\""), "{line}");
    assert!(device.data.path().join("token").exists(), "it keeps its token");

    // Not in a full handshake either.
    let fresh = world.device("kitchen-1", &issued).await;
    let login = tokio::spawn(async move { fresh.client.login(Credentials::new()).await });
    let line = world.server.logs("refused the certificate of a client").await;
    assert!(line.contains("CN=kitchen-1") && line.contains("reason=\"revoked\""), "{line}");
    login.abort();
    assert_eq!(stays.client.status().state, State::Connected);
}

#[tokio::test]
async fn check_config_shows_them_and_an_overdue_list() {
    let (program, authority) = configured("client_id = \"dns\"\nclient_register = true");
    program.add_account(USER, PASSWORD).await;
    let shown = program.run(&["check-config"], "").await;
    let expected = "client certificates: optional, by factory/ca.pem; device id from dns; register unknown \
                    devices; revocation list factory/crl.pem\n";
    assert!(shown.contains(expected), "{shown}");
    authority.crl_until("20210101000000Z");
    let failed = program.fails(&["check-config"], 1).await;
    let expected = "error: certificates of devices: a newer revocation list of";
    assert!(failed.contains(expected), "{failed}");
    assert!(failed.contains("but refuse the certificates of devices"), "{failed}");
    std::fs::write(program.folder.path().join("factory/ca.pem"), "nothing").unwrap();
    let failed = program.fails(&["check-config"], 78).await;
    assert!(failed.contains("listener.client_ca: cannot read PEM certificates"), "{failed}");
}
