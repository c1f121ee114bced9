//! The server in this process, which is what most tests need.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use fedecks_cloud::accounts::hash_password;
use fedecks_protocol::DeviceId;
use fedecks_server::App;
use fedecks_store::{
    AccountStore, Actor, ApiSecret, ApiTokenStore, DevicePattern, DeviceStore, NewApiToken,
    RegistrationStore, Role, SqliteStore, StoreOptions, unix_now,
};
use fedecks_testing::cloud_process::configuration;
use fedecks_testing::device::Device;
use fedecks_testing::http::{Answer, Http};
use fedecks_testing::{PASSWORD, USER};
use http::StatusCode;
use tempfile::TempDir;

/// The program, for tests that need a process.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_fedecks-cloud");

/// A listener that serves metrics only, without a token.
pub(crate) const METRICS: &str =
    "[[listener]]\naddress = \"127.0.0.1:0\"\nserves = [\"metrics\"]\n";

// Hashed once: it takes long on purpose.
static PASSWORD_HASH: LazyLock<String> = LazyLock::new(|| hash_password(PASSWORD).unwrap());

/// A server in this process, with one account.
pub(crate) struct Server {
    app: App,
    /// Where it listens; the first address, if there are more.
    pub(crate) address: SocketAddr,
    /// Its store, opened a second time as the commands of the program do it.
    pub(crate) store: SqliteStore,
    pub(crate) folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With more lines in its configuration file.
    pub(crate) async fn with(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines = format!("data_dir = {:?}\n{lines}", folder.path());
        std::fs::write(folder.path().join("cloud.toml"), configuration(&lines)).unwrap();
        let store = folder.path().join("fedecks.sqlite");
        SqliteStore::create(&store).unwrap();
        let store = SqliteStore::open_beside(&store, StoreOptions::default()).unwrap();
        store.add_account(USER, &PASSWORD_HASH, &Actor::cli()).await.unwrap();
        let app = start(folder.path()).await;
        Self { address: app.addresses()[0], app, store, folder }
    }

    /// Lets a device that is registered log in by the account again, once.
    pub(crate) async fn allow_reregistration(&self, id: &str) {
        let (id, until) = (DeviceId::new(id).unwrap(), unix_now() + 600);
        self.store.allow_reregistration(&id, until, &Actor::cli()).await.unwrap();
    }

    /// Stops it and starts it again, at other addresses.
    pub(crate) async fn restart(self, meanwhile: impl FnOnce()) -> Self {
        self.app.stop().await;
        meanwhile();
        let app = start(self.folder.path()).await;
        Self { address: app.addresses()[0], app, ..self }
    }

    /// Of each listener.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.app.addresses()
    }

    /// A device that is connected.
    pub(crate) async fn device(&self, id: &str) -> Device {
        Device::logged_in(self.address, id).await
    }

    /// Tries to log in with a wrong password.
    pub(crate) async fn refuse_login(&self, id: &str) {
        let device = Device::start(self.address, id).await;
        device.try_login(USER, "wrong!!!").await.unwrap_err();
    }

    /// Revokes a device's tokens in the store, as a command does it.
    pub(crate) async fn revoke_device(&self, id: &str) {
        self.store.revoke(&id.parse().unwrap(), &Actor::cli()).await.unwrap();
    }

    pub(crate) fn http(&self) -> Http {
        Http::to(self.address)
    }

    /// A client with a token of these roles.
    pub(crate) async fn http_as(&self, roles: &[Role]) -> Http {
        self.http().token(&self.token(roles).await)
    }

    /// A new API token.
    pub(crate) async fn token(&self, roles: &[Role]) -> String {
        self.add_token(&format!("test-{:x}", rand::random::<u64>()), roles, None).await
    }

    /// A new API token that is limited to `devices`, if they are given.
    pub(crate) async fn add_token(
        &self,
        name: &str,
        roles: &[Role],
        devices: Option<&str>,
    ) -> String {
        let token = NewApiToken {
            name: name.to_owned(),
            secret: ApiSecret::generate(),
            roles: roles.iter().copied().collect(),
            devices: devices.map(|devices| devices.parse::<DevicePattern>().unwrap()),
            expires_at: None,
        };
        self.app.tokens().add(&token, &Actor::cli()).await.unwrap();
        token.secret.expose().to_owned()
    }

    /// Revokes an API token in the store, as a command does it, and waits until the server refuses it.
    pub(crate) async fn revoke_token(&self, name: &str, token: &str) {
        assert!(self.store.revoke_api_token(name, &Actor::cli()).await.unwrap());
        self.http().token(token).until_status("/api/v1/token", StatusCode::UNAUTHORIZED).await;
    }
}

async fn start(folder: &Path) -> App {
    App::start(&folder.join("cloud.toml")).await.unwrap_or_else(|error| panic!("{error}"))
}

/// What Prometheus reads.
pub(crate) async fn metrics(http: &Http) -> String {
    let answer = http.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.text()
}

/// The value of a sample.
pub(crate) fn sample(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}

/// The status and the code of a problem.
pub(crate) fn problem(answer: &Answer) -> String {
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    let (status, json) = (answer.status.as_u16(), answer.json());
    assert_eq!(json["status"], status);
    format!("{status} {}", json["code"].as_str().unwrap())
}
