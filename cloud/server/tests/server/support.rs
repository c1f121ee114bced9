//! The program in a folder of its own, devices that connect to it, and a client for its HTTP side.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedecks_device::{Client, Credentials, DeviceId, Event, Subscription, TlsOptions};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long anything that is awaited may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What every server here seals tokens with.
pub(crate) const SECRET: &str = "sssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss";
pub(crate) const SALT: &str = "salt salt salt salt";

/// The account that every server here has.
pub(crate) const ACCOUNT: &str = "marvin";
pub(crate) const PASSWORD: &str = "don't panic";

/// `fedecks-cloud serve` in a folder of its own. It is killed when the test ends.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    /// Where it listens; the first address, if there are more.
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    /// With a free port of 127.0.0.1 and the defaults for the rest.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With more lines in its configuration file, after `listen`.
    pub(crate) async fn with(configuration: &str) -> Self {
        let folder = folder_with(configuration);
        run(folder.path(), &["account", "add", ACCOUNT], PASSWORD).await;
        let (child, address) = serve(folder.path(), &[]).await;
        Self { folder, address, child }
    }

    /// What it complains about when it does not start for these lines in its configuration file.
    pub(crate) async fn refuses(configuration: &str) -> String {
        let folder = folder_with(configuration);
        let output = within(program(folder.path(), &["serve"]).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    }

    /// What a command of the program prints, in the server's folder and with its configuration.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        run(self.folder.path(), arguments, "").await
    }

    /// A new API token with these options, once the server knows it.
    pub(crate) async fn token(&self, options: &[&str]) -> String {
        let name = format!("test-{:x}", rand::random::<u64>());
        self.token_named(&name, options).await
    }

    pub(crate) async fn token_named(&self, name: &str, options: &[&str]) -> String {
        let printed = self.command(&[&["token", "add", name], options].concat()).await;
        let token = printed.lines().find(|line| line.starts_with("fdk_")).unwrap().to_owned();
        self.says_to(&token, StatusCode::OK).await;
        token
    }

    /// Revokes the API token of that name, and waits until the server knows it.
    pub(crate) async fn revoke(&self, name: &str, token: &str) {
        self.command(&["token", "revoke", name]).await;
        self.says_to(token, StatusCode::UNAUTHORIZED).await;
    }

    /// Waits until whoever has that token is answered so.
    async fn says_to(&self, token: &str, status: StatusCode) {
        let http = self.http().token(token);
        within(async {
            while http.get("/api/v1/token").await.status != status {
                // Seldom enough for the limit on requests of one address.
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        })
        .await;
    }

    /// Where it listens: at `listen`, and then at each `[[listener]]`.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let ready = std::fs::read_to_string(self.folder.path().join("ready")).unwrap();
        ready.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Kills it as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        assert!(within(self.child.wait()).await.unwrap().success());
    }

    /// Starts it anew at the same address.
    pub(crate) async fn start_again(&mut self) {
        let listen = self.address.to_string();
        (self.child, self.address) = serve(self.folder.path(), &["--listen", &listen]).await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// A device that dials the server, and is not logged in.
    pub(crate) fn device(&self, id: &str) -> Device {
        Device::start(self.address, id)
    }

    /// A device that is connected.
    pub(crate) async fn connected_device(&self, id: &str) -> Device {
        let mut device = self.device(id);
        device.login().await;
        device
    }

    pub(crate) fn http(&self) -> Http {
        Http::to(self.address)
    }
}

fn folder_with(configuration: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "listen = \"127.0.0.1:0\"\nsecret = \"{SECRET}\"\nsalt = \"{SALT}\"\n{configuration}"
    );
    std::fs::write(folder.path().join("cloud.toml"), configuration).unwrap();
    folder
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fedecks-cloud"));
    command
        .env_clear()
        .env("FEDECKS_CONFIG", "cloud.toml")
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end, which has to be a good one, and gives what it printed.
async fn run(folder: &Path, arguments: &[&str], input: &str) -> String {
    let file = folder.join(".input");
    std::fs::write(&file, input).unwrap();
    let output =
        within(program(folder, arguments).stdin(std::fs::File::open(file).unwrap()).output())
            .await
            .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its log goes to `log` in the folder.
async fn serve(folder: &Path, arguments: &[&str]) -> (Child, SocketAddr) {
    let ready = folder.join("ready");
    let _ = std::fs::remove_file(&ready);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let mut child = program(folder, &["serve", "--ready-file", "ready"])
        .args(arguments)
        .stderr(log.unwrap())
        .spawn()
        .unwrap();
    let listening = async {
        loop {
            if let Ok(addresses) = std::fs::read_to_string(&ready) {
                return addresses.lines().next().unwrap().parse().unwrap();
            }
            if let Some(status) = child.try_wait().unwrap() {
                let log = std::fs::read_to_string(folder.join("log")).unwrap();
                panic!("the server ended with {status}:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let address = within(listening).await;
    (child, address)
}

/// A device with a data folder of its own.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) events: Subscription,
    data: TempDir,
}

impl Device {
    /// Waits little between attempts.
    pub(crate) fn start(address: SocketAddr, id: &str) -> Self {
        Self::start_at(&format!("ws://{address}"), TlsOptions::default(), id)
    }

    pub(crate) fn start_at(url: &str, tls: TlsOptions, id: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let client = Client::builder(url.parse().unwrap(), DeviceId::new(id).unwrap())
            .tls(tls)
            .data_dir(data.path())
            .backoff(Duration::from_millis(50), Duration::from_millis(500))
            .start()
            .unwrap();
        let events = client.subscribe();
        Self { client, events, data }
    }

    /// Logs in by the account that every server has, and waits until it is connected.
    pub(crate) async fn login(&mut self) {
        let credentials = Credentials::new().with("username", ACCOUNT).with("password", PASSWORD);
        within(self.client.login(credentials)).await.unwrap();
        self.until(|event| *event == Event::Connected).await;
    }

    /// Logs in by another account.
    pub(crate) async fn login_as(&mut self, username: &str, password: &str) {
        let credentials = Credentials::new().with("username", username).with("password", password);
        within(self.client.login(credentials)).await.unwrap();
        self.until(|event| *event == Event::Connected).await;
    }

    /// Tries a password that is wrong.
    pub(crate) async fn fails_to_log_in(&self) {
        let credentials = Credentials::new().with("username", ACCOUNT).with("password", "wrong!!!");
        within(self.client.login(credentials)).await.unwrap_err();
    }

    /// The token's file as it is.
    pub(crate) fn token_on_disk(&self) -> Vec<u8> {
        std::fs::read(self.data.path().join("token")).unwrap()
    }

    /// The next event for which `wanted` is true; others are passed over.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        within(async {
            loop {
                let event = self.events.next().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }
}

/// Asks a server over HTTP.
#[derive(Clone)]
pub(crate) struct Http {
    /// Scheme and authority.
    origin: String,
    client: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let nobody = rustls::RootCertStore::empty();
        Self::with(format!("http://{address}"), nobody, HttpConnector::new())
    }

    /// Whom these vouch for, at such a connection.
    pub(crate) fn with(
        origin: String,
        roots: rustls::RootCertStore,
        mut connector: HttpConnector,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = HttpClient::builder(TokioExecutor::new()).build(connector);
        Self { origin, client, headers: HeaderMap::new() }
    }

    /// Every request has this header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let answer = self.open(method, path, body).await;
        let (head, body) = answer.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// An answer whose body is still to be read.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .body(Full::new(body.into()))
            .unwrap();
        request.headers_mut().extend(self.headers.clone());
        within(self.client.request(request)).await.unwrap()
    }
}

impl Http {
    /// Follows server-sent events.
    pub(crate) async fn events(&self, path: &str) -> Events {
        let answer = self.open(Method::GET, path, Bytes::new()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events { body: answer.into_body(), text: String::new() }
    }
}

/// Server-sent events as they come.
pub(crate) struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// The data of the next one.
    pub(crate) async fn next(&mut self) -> serde_json::Value {
        within(self.read()).await.expect("the stream has ended")
    }

    /// Whether it ends without another one.
    pub(crate) async fn ended(&mut self) -> bool {
        within(self.read()).await.is_none()
    }

    async fn read(&mut self) -> Option<serde_json::Value> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                let data = data.map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if data.is_some() {
                    return data;
                }
            }
            let frame = self.body.frame().await?.unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
        }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What the future gives, or a failure if it takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing came of it in time")
}

/// Says loudly that a test cannot run here. Where `FEDECKS_TESTS_COMPLETE` is set, as it is on the
/// machine that decides about a change, it fails instead.
pub(crate) fn skip(reason: &str) {
    use std::io::Write;

    assert!(std::env::var_os("FEDECKS_TESTS_COMPLETE").is_none(), "cannot run here: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // Past the test runner, which shows nothing of what passes. A full pipe is not the test's fault.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Puts a certificate for localhost that expires on January 31 of that year and its key into the folder,
/// as `c.pem` and `k.pem`.
pub(crate) fn put_certificate(folder: &Path, expires: i32) -> [PathBuf; 2] {
    let keys = rcgen::KeyPair::generate().unwrap();
    let mut made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    made.not_after = rcgen::date_time_ymd(expires, 1, 31);
    let files = ["c.pem", "k.pem"].map(|name| folder.join(name));
    std::fs::write(&files[0], made.self_signed(&keys).unwrap().pem()).unwrap();
    std::fs::write(&files[1], keys.serialize_pem()).unwrap();
    files
}
