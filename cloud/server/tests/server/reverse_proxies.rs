//! The server behind real nginx and Caddy, with the configurations that are shipped.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use fedecks_device::{Event, TlsOptions, Trust};
use http::{Method, StatusCode};
use hyper_util::client::legacy::connect::HttpConnector;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::{Device, Http, Server, skip, within};

/// An address that only the proxies here listen at, so that nobody else takes their ports.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);
/// Where the client connects from; the proxy does so from 127.0.0.1.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 2);

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";

fn shipped(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name))
        .unwrap()
}

/// With each of these in place of what it stands beside, which has to be there.
fn changed(text: String, changes: &[(&str, String)]) -> String {
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the shipped configuration");
        text.replace(from, to)
    })
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian has nginx, and a user's path may not lead.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.exists());
    if found.is_none() {
        skip(&format!("{program} is missing, of Debian's package of that name"));
    }
    found
}

/// A proxy that runs in front of a server, until it is dropped.
struct Proxy {
    folder: TempDir,
    port: u16,
    roots: rustls::RootCertStore,
    child: Option<Child>,
}

impl Proxy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([PROXY.to_string()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.key_pair.serialize_pem()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        Self { folder, port: free_port(), roots, child: None }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts it, and waits until it answers for the server.
    async fn run(&mut self, command: &mut Command) {
        let log = std::fs::File::create(self.file("log")).unwrap();
        let child = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let log = self.folder.path().join("log");
        within(async {
            while tokio::net::TcpStream::connect((PROXY, self.port)).await.is_err() {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "{}", std::fs::read_to_string(&log).unwrap());
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(self.http().get("/healthz").await.status, StatusCode::OK);
    }

    /// A client at [`CLIENT`].
    fn http(&self) -> Http {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(IpAddr::V4(CLIENT)));
        Http::with(self.origin(), self.roots.clone(), connector)
    }

    fn origin(&self) -> String {
        format!("https://{PROXY}:{}", self.port)
    }

    fn device(&self, id: &str) -> Device {
        let trust = Trust::Only(self.folder.path().join("cert.pem"));
        let tls = TlsOptions { trust, identity: None };
        Device::start_at(&format!("wss://{PROXY}:{}", self.port), tls, id)
    }
}

fn free_port() -> u16 {
    TcpListener::bind((PROXY, 0)).unwrap().local_addr().unwrap().port()
}

/// All that has to go through.
async fn everything_goes_through(server: &Server, proxy: &Proxy) {
    let token = server.token(&["--role", "read", "--role", "send"]).await;
    let http = proxy.http().token(&token);
    let mut events = http.events("/api/v1/events").await;

    // The device socket, and its events at once.
    let mut device = proxy.device("kitchen-1");
    device.login().await;
    let connected = events.next().await;
    assert_eq!(
        (&connected["kind"], &connected["device"]),
        (&"connected".into(), &"kitchen-1".into())
    );
    // The client's library chooses its own address; the port, which the header doesn't have, is 0.
    assert_eq!(connected["peer"], "127.0.0.1:0");
    device.client.send(&"up").await.unwrap();
    let message = events.next().await;
    assert_eq!((&message["kind"], &message["message"]), (&"message".into(), &"up".into()));

    // The dashboard's page and its cookie, as over TLS, and to a browser that says where it comes from.
    let page = proxy.http().get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers.contains_key("strict-transport-security"), "{page:?}");
    let browser = proxy.http().header("origin", &proxy.origin());
    let browser = browser.header("content-type", "application/json");
    let body = serde_json::json!({ "token": token }).to_string();
    let signed_in = browser.ask(Method::POST, "/session", body).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{signed_in:?}");
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.ends_with("; Secure"), "{cookie}");

    // Down, as big as a message may be.
    let big = vec![b'x'; 1_000_000];
    let path = "/api/v1/devices/kitchen-1/messages";
    let raw = http.clone().header("content-type", "application/octet-stream");
    let sent = raw.ask(Method::POST, path, big.clone()).await;
    assert!(sent.status.is_success(), "{sent:?}");
    let received = device.until(|event| matches!(event, Event::RawMessage(_))).await;
    assert_eq!(received, Event::RawMessage(big));
    assert_eq!(events.next().await["kind"], "raw-sent");

    // JSON may take more room than the message that it becomes, and more than nginx lets through by itself.
    let long = format!("{}7", " ".repeat(2 * 1024 * 1024));
    let json = http.clone().header("content-type", "application/json");
    let sent = json.ask(Method::POST, path, long).await;
    assert!(sent.status.is_success(), "{sent:?}");
    device.until(|event| matches!(event, Event::Message(_))).await;
    assert_eq!(events.next().await["message"], 7);

    // Whatever a client says about itself, it has the address that it has.
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let liar = upgrade.iter().fold(proxy.http(), |http, (name, value)| http.header(name, value));
    let refused = liar.get("/fedecks/websocket").await;
    assert!(refused.status.is_client_error(), "{refused:?}");
    let refused = events.next().await;
    assert_eq!(
        (&refused["kind"], &refused["peer"]),
        (&"refused".into(), &format!("{CLIENT}:0").into())
    );
}

#[tokio::test]
async fn nginx_passes_on_devices_events_messages_the_dashboard_and_the_clients_address() {
    let Some(nginx) = find("nginx") else { return };
    let server = Server::with(TRUSTED).await;
    let mut proxy = Proxy::new();
    let (certificate, key) = (proxy.file("cert.pem"), proxy.file("key.pem"));
    let letsencrypt = "/etc/letsencrypt/live/fedecks.example.com";
    let site = changed(
        shipped("nginx.conf"),
        &[
            ("listen 80;", format!("listen {PROXY}:{};", free_port())),
            ("listen [::]:80;", String::new()),
            ("listen 443 ssl;", format!("listen {PROXY}:{} ssl;", proxy.port)),
            ("listen [::]:443 ssl;", String::new()),
            ("server 127.0.0.1:8080;", format!("server {};", server.address)),
            (&format!("{letsencrypt}/fullchain.pem"), certificate),
            (&format!("{letsencrypt}/privkey.pem"), key),
        ],
    );
    // Around it only what keeps this one apart from another nginx on the machine.
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
async fn caddy_passes_on_devices_events_messages_the_dashboard_and_the_clients_address() {
    let Some(caddy) = find("caddy") else { return };
    let server = Server::with(TRUSTED).await;
    let mut proxy = Proxy::new();
    let own = format!(
        "https://{PROXY}:{} {{\n\tbind {PROXY}\n\ttls {} {}",
        proxy.port,
        proxy.file("cert.pem"),
        proxy.file("key.pem")
    );
    let site = changed(
        shipped("Caddyfile"),
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
