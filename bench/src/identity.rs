//! The keys, the account and the certificate that both ends of a measurement share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fedecks_cloud::Keyring;
use fedecks_cloud::accounts::hash_password;
use fedecks_cloud::auth::Claims;
use fedecks_cloud::store::{AccountStore, Actor, SqliteStore};
use fedecks_protocol::{AuthRequest, DeviceId, Dialect, Proof};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::error::Result;

/// What both processes seal and open tokens with. They live as long as the run.
pub(crate) const SECRET: &str = "known to everybody, for benchmarks";
pub(crate) const SALT: &str = "fedecks-bench";

/// The account that devices may log in with.
pub(crate) const USER: &str = "bench";
pub(crate) const PASSWORD: &str = "known to everybody";

/// The name of our server's store in its folder.
pub(crate) const STORE: &str = "cloud.sqlite";

/// The name that the certificate is for.
pub(crate) const HOST: &str = "localhost";

pub(crate) fn keyring() -> Result<Keyring> {
    Ok(Keyring::new(SECRET, SALT)?)
}

/// Makes our server's store with the account, as `fedecks-cloud account add` does. Not in the server
/// itself: the 19 MiB that hashing takes would stay with its allocator and hide what connections
/// take.
pub(crate) async fn add_account(folder: &Path) -> Result<()> {
    let store = SqliteStore::open(folder.join(STORE))?;
    Ok(store.add_account(USER, &hash_password(PASSWORD)?, &Actor::cli()).await?)
}

/// The id of the `index`th device.
pub(crate) fn device_id(index: usize) -> Result<DeviceId> {
    Ok(DeviceId::new(format!("bench-{index:05}"))?)
}

/// The value of `x-fedecks-auth` of the `index`th device: with a token issued right now, so that the
/// server hands out no new one.
pub(crate) fn auth_header(keyring: &Keyring, index: usize) -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let device = device_id(index)?;
    let claims = Claims {
        device: device.clone(),
        issued_at: now.as_secs(),
        expires_at: (now + Duration::from_secs(24 * 60 * 60)).as_secs(),
        generation: 0,
    };
    let proof = Proof::Token(keyring.seal(&claims).token);
    Ok(AuthRequest { device_id: device, proof }.to_header(Dialect::Bincode)?)
}

/// A certificate made for this run, as files, and what trusts it.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    connector: TlsConnector,
}

impl Certificate {
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let (chain, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&chain, made.cert.pem())?;
        std::fs::write(&key, made.key_pair.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every handshake in full: that is what a server pays after it was away.
        config.resumption = Resumption::disabled();
        Ok(Self { chain, key, connector: Arc::new(config).into() })
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        self.connector.clone()
    }
}
