//! The server behind real nginx and Caddy, with the configurations that are shipped. HAProxy is in `haproxy`.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;

use fedecks_device::{ClientBuilder, Event, Trust};
use fedecks_store::Role::{Read, Send};
use fedecks_testing::certificates::{Certificate, client_config};
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::process_group::ProcessGroup;
use fedecks_testing::wait::{skip, until};
use http::StatusCode;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::Server;

/// An address at which only these proxies listen, so that nothing else takes their ports.
pub(crate) const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);
/// Where the client connects from; the proxy does so from 127.0.0.1.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 2);

pub(crate) const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";

/// A shipped file with each first text replaced by the second; each must be in it.
pub(crate) fn changed(file: &str, changes: &[(&str, String)]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(file);
    changes.iter().fold(std::fs::read_to_string(file).unwrap(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the shipped configuration");
        text.replace(from, to)
    })
}

pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's nginx is there, which a user's PATH may not include.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.exists());
    if found.is_none() {
        skip(&format!("{program} is missing, of Debian's package of that name"));
    }
    found
}

/// A proxy that runs in front of a server, until it is dropped.
pub(crate) struct Proxy {
    folder: TempDir,
    pub(crate) port: u16,
    certificate: Certificate,
    processes: Option<ProcessGroup>,
}

impl Proxy {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::self_signed(&PROXY.to_string());
        certificate.write(folder.path());
        Self { folder, port: free_port(), certificate, processes: None }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts it, and waits until requests reach the server.
    pub(crate) async fn run(&mut self, command: &mut Command) {
        let log = std::fs::File::create(self.file("log")).unwrap();
        command.current_dir(self.folder.path()).stdout(log.try_clone().unwrap()).stderr(log);
        self.processes = Some(ProcessGroup::spawn(command).unwrap());
        until(async || {
            let ended = self.processes.as_mut().unwrap().0.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(self.file("log")).unwrap());
            tokio::net::TcpStream::connect((PROXY, self.port)).await.ok()
        })
        .await;
        assert_eq!(self.http().get("/healthz").await.status, StatusCode::OK);
    }

    /// A client at [`CLIENT`].
    pub(crate) fn http(&self) -> Http {
        let tls = client_config([&self.certificate.der]);
        Http::with(self.origin(), tls, |client| client.local_address(IpAddr::V4(CLIENT)))
    }

    fn origin(&self) -> String {
        format!("https://{PROXY}:{}", self.port)
    }

    async fn device(&self, id: &str) -> Device {
        self.device_with(id, |builder| builder).await
    }

    /// A device with other settings.
    pub(crate) async fn device_with(
        &self,
        id: &str,
        settings: impl Fn(ClientBuilder) -> ClientBuilder + std::marker::Send + Sync + 'static,
    ) -> Device {
        let trust = Trust::Only(self.folder.path().join("c.pem"));
        let url = format!("wss://{PROXY}:{}", self.port);
        Device::start_with(&url, id, move |builder| settings(builder.tls(trust.clone()))).await
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((PROXY, 0)).unwrap().local_addr().unwrap().port()
}

/// Everything that a proxy must pass on.
pub(crate) async fn everything_goes_through(server: &Server, proxy: &Proxy) {
    let token = server.token(&[Read, Send]).await;
    let http = proxy.http().token(&token);
    let mut events = http.events("/api/v1/events").await;

    // The device socket, and its events without delay.
    let mut device = proxy.device("kitchen-1").await;
    device.login().await;
    let registered = events.next().await;
    assert_eq!(
        (&registered["kind"], &registered["address"]),
        (&"registered".into(), &"127.0.0.1".into())
    );
    let connected = events.next().await;
    assert_eq!(connected["kind"], "connected");
    assert_eq!(connected["device"], "kitchen-1");
    // The device library chooses its own address; the port, which the header lacks, is 0.
    assert_eq!(connected["peer"], "127.0.0.1:0");
    device.client.send(&"up").await.unwrap();
    let message = events.next().await;
    assert_eq!((&message["kind"], &message["message"]), (&"message".into(), &"up".into()));

    // The dashboard's page and its cookie as over TLS, for a browser that sends its origin.
    let page = proxy.http().get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers.contains_key("strict-transport-security"), "{page:?}");
    let browser = proxy.http().header("origin", &proxy.origin()).json();
    let body = serde_json::json!({ "token": token }).to_string();
    let signed_in = browser.post("/session", body).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{signed_in:?}");
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.ends_with("; Secure"), "{cookie}");

    // The biggest message to a device.
    let big = vec![b'x'; 1_000_000];
    let path = "/api/v1/devices/kitchen-1/messages";
    let raw = http.clone().header("content-type", "application/octet-stream");
    let sent = raw.post("/api/v1/devices/kitchen-1/raw-messages", big.clone()).await;
    assert!(sent.status.is_success(), "{sent:?}");
    let received = device.until(|event| matches!(event, Event::RawMessage(_))).await;
    assert_eq!(received, Event::RawMessage(big));
    assert_eq!(events.next().await["kind"], "raw-sent");

    // JSON may be longer than the message that it stands for, and longer than nginx's default limit.
    let long = format!("{}7", " ".repeat(2 * 1024 * 1024));
    let sent = http.json().post(path, long).await;
    assert!(sent.status.is_success(), "{sent:?}");
    device.message().await;
    assert_eq!(events.next().await["message"], 7);

    // A client cannot choose its own address.
    let upgrade = proxy.http().header("connection", "upgrade").header("upgrade", "websocket");
    let upgrade = upgrade.header("sec-websocket-version", "13");
    let upgrade = upgrade.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let liar = upgrade.header("x-forwarded-for", "203.0.113.9");
    let refused = liar.get("/fedecks/websocket").await;
    assert!(refused.status.is_client_error(), "{refused:?}");
    let refused = events.next().await;
    assert_eq!(refused["kind"], "refused");
    assert_eq!(refused["peer"], format!("{CLIENT}:0"));
}

#[tokio::test]
async fn nginx_passes_everything_on_with_the_clients_address() {
    let Some(nginx) = find("nginx") else { return };
    let server = Server::with(TRUSTED).await;
    let mut proxy = Proxy::new();
    let letsencrypt = "/etc/letsencrypt/live/fedecks.example.com";
    let site = changed(
        "nginx.conf",
        &[
            ("listen 80;", format!("listen {PROXY}:{};", free_port())),
            ("listen [::]:80;", String::new()),
            ("listen 443 ssl;", format!("listen {PROXY}:{} ssl;", proxy.port)),
            ("listen [::]:443 ssl;", String::new()),
            ("server 127.0.0.1:8080;", format!("server {};", server.address)),
            (&format!("{letsencrypt}/fullchain.pem"), proxy.file("c.pem")),
            (&format!("{letsencrypt}/privkey.pem"), proxy.file("k.pem")),
        ],
    );
    // The rest only separates it from another nginx on the machine.
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {};\n", proxy.file(name)))
        .concat();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let configuration = format!(
        "{user} daemon off; worker_processes 1; pid {}; error_log stderr;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n",
        proxy.file("pid")
    );
    std::fs::write(proxy.folder.path().join("nginx.conf"), configuration).unwrap();
    let file = proxy.file("nginx.conf");
    proxy.run(Command::new(nginx).args(["-e", "stderr", "-c", &file])).await;
    everything_goes_through(&server, &proxy).await;
}

#[tokio::test]
async fn caddy_passes_everything_on_with_the_clients_address() {
    let Some(caddy) = find("caddy") else { return };
    let server = Server::with(TRUSTED).await;
    let mut proxy = Proxy::new();
    let own = format!(
        "https://{PROXY}:{} {{\n\tbind {PROXY}\n\ttls {} {}",
        proxy.port,
        proxy.file("c.pem"),
        proxy.file("k.pem")
    );
    let site = changed(
        "Caddyfile",
        &[
            ("fedecks.example.com {", own),
            ("reverse_proxy 127.0.0.1:8080", format!("reverse_proxy {}", server.address)),
        ],
    );
    let global = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
    std::fs::write(proxy.folder.path().join("Caddyfile"), format!("{global}{site}")).unwrap();
    let home = proxy.file("");
    let run = ["run", "--adapter", "caddyfile", "--config", "Caddyfile"];
    proxy.run(Command::new(caddy).args(run).env_clear().env("HOME", &home)).await;
    everything_goes_through(&server, &proxy).await;
}
