//! The keys, the account and the certificate that both ends of a measurement share.

use std::path::{Path, PathBuf};

use fedecks_cloud::Keyring;
use fedecks_cloud::accounts::hash_password;
use fedecks_cloud::auth::Claims;
use fedecks_cloud::store::unix_now;
use fedecks_cloud::store::{AccountStore, Actor, SqliteStore};
use fedecks_protocol::{AuthRequest, DeviceId, Dialect, Proof};
use fedecks_testing::certificates::{self, DAY, client_config};
use fedecks_testing::{PASSWORD, USER};
use rustls::ClientConfig;

use crate::error::Result;
use crate::tickets::{HOST, TlsClient};

/// The name of our server's store in its folder.
pub(crate) const STORE: &str = "cloud.sqlite";

/// Makes our server's store with the account, as `fedecks-cloud account add` does. Not in the server
/// itself: its allocator would keep the 19 MiB that hashing takes, which would hide the memory of
/// connections.
pub(crate) async fn add_account(folder: &Path) -> Result<()> {
    let store = SqliteStore::open(folder.join(STORE))?;
    Ok(store.add_account(USER, &hash_password(PASSWORD)?, &Actor::cli()).await?)
}

/// The id of the `index`th device.
pub(crate) fn device_id(index: usize) -> Result<DeviceId> {
    Ok(DeviceId::new(format!("bench-{index:05}"))?)
}

/// The value of `x-fedecks-auth` of the `index`th device: a token issued now, so that the server issues
/// no new one.
pub(crate) fn auth_header(keyring: &Keyring, index: usize) -> Result<String> {
    let now = unix_now();
    let device = device_id(index)?;
    let claims =
        Claims { device: device.clone(), issued_at: now, expires_at: now + DAY, generation: 0 };
    let proof = Proof::Token(keyring.seal(&claims).token);
    Ok(AuthRequest { device_id: device, proof }.to_header(Dialect::Bincode)?)
}

/// The certificate of this run, and a client that trusts it.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    config: ClientConfig,
}

impl Certificate {
    pub(crate) fn make(folder: &Path) -> Self {
        let made = certificates::Certificate::self_signed(HOST);
        let [chain, key] = made.write(folder);
        let mut config = client_config([&made.der]);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { chain, key, config }
    }

    /// Clients that only make full handshakes.
    pub(crate) fn client(&self) -> TlsClient {
        TlsClient::without_tickets(self.config.clone())
    }

    /// Clients that resume sessions.
    pub(crate) fn returning_client(&self) -> TlsClient {
        TlsClient::with_tickets(self.config.clone())
    }
}
