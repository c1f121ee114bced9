//! What balancers and Prometheus ask for.

use std::net::SocketAddr;

use fedecks_device::Event;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::metrics::{metrics, sample};
use crate::support::{Http, Server, put_certificate, within};

#[tokio::test]
async fn health_needs_no_token_and_says_nothing_else() {
    let server = Server::start().await;
    let alive = server.http().get("/healthz").await;
    assert_eq!((alive.status, &alive.body[..]), (StatusCode::OK, &b"ok\n"[..]));
    let ready = server.http().get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(&ready.body[..], br#"{"ready":true,"store":"ok"}"#);
}

#[tokio::test]
async fn the_metrics_count_what_happened_exactly_and_name_no_device() {
    let server = Server::start().await;
    assert_eq!(server.http().get("/metrics").await.status, StatusCode::UNAUTHORIZED);
    let limited = server.token(&["--role", "read", "--devices", "site-*"]).await;
    let limited = server.http().token(&limited).get("/metrics").await;
    assert_eq!(limited.status, StatusCode::FORBIDDEN);
    let http = server.http().token(&server.token(&["--role", "read"]).await);

    let device = server.connected_device("kitchen-1").await;
    let leaving = server.connected_device("hall-1").await;
    for number in 0..7 {
        device.client.send(&number).await.unwrap();
    }
    server.device("cellar-1").fails_to_log_in().await;
    leaving.client.shutdown().await;
    let text = within(async {
        loop {
            let text = metrics(&http).await;
            if sample(&text, "fedecks_disconnects_total") == 1.0
                && sample(&text, "fedecks_messages_received_total") == 7.0
            {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(sample(&text, "fedecks_connects_total"), 2.0);
    assert_eq!(sample(&text, "fedecks_connected_devices"), 1.0);
    // Two that connected and seven messages.
    assert_eq!(sample(&text, "fedecks_handler_duration_seconds_count"), 9.0);
    assert!(sample(&text, "fedecks_received_bytes_total") > 7.0 * 6.0);
    assert!(sample(&text, "fedecks_sent_bytes_total") > 100.0);
    assert_eq!(sample(&text, "fedecks_messages_sent_total"), 0.0);
    assert_eq!(sample(&text, "fedecks_queue_full_total"), 0.0);
    assert!(sample(&text, "fedecks_connections") >= 2.0);
    assert!(sample(&text, "fedecks_accepted_total") >= 4.0);
    assert_eq!(sample(&text, "fedecks_refusals_total{reason=\"bad-credentials\"}"), 1.0);
    assert_eq!(sample(&text, "fedecks_store_healthy"), 1.0);
    assert!(sample(&text, "fedecks_process_resident_memory_bytes") > 1e6);
    let reads = sample(&text, "fedecks_store_read_duration_seconds_count");
    assert!(reads >= 2.0);
    assert_eq!(sample(&text, "fedecks_store_read_duration_seconds_bucket{le=\"+Inf\"}"), reads);
    for device in ["kitchen-1", "hall-1", "cellar-1"] {
        assert!(!text.contains(device), "{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn messages_that_were_sent_are_counted() {
    let server = Server::start().await;
    let http = server.http().token(&server.token(&["--role", "read", "--role", "send"]).await);
    let mut device = server.connected_device("kitchen-1").await;
    let json = http.clone().header("content-type", "application/json");
    let answer = json.ask(Method::POST, "/api/v1/devices/kitchen-1/messages", "[1]").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    device.until(|event| matches!(event, Event::Message(_))).await;
    assert_eq!(sample(&metrics(&http).await, "fedecks_messages_sent_total"), 1.0);
}

#[tokio::test]
async fn connections_that_are_turned_away_are_counted_by_the_reason() {
    let more = "trusted_proxies = [\"127.0.0.2\"]\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n\
                [tls]\nself_signed = true\n\
                [limits]\nconnections_per_address = 3\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\nserves = [\"metrics\"]\n";
    let server = Server::with(more).await;
    let addresses = server.addresses();
    let [encrypted, proxied, for_metrics] = addresses[..] else { panic!("{addresses:?}") };
    // Each is closed by the server; what it says before that is of no interest here.
    let turned_away = |from: &'static str, to: SocketAddr, says: &'static [u8]| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        // It may be closed by then.
        let _ = stream.write_all(says).await;
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    };
    turned_away("127.0.0.3", encrypted, b"GET / HTTP/1.1\r\n\r\n").await;
    turned_away("127.0.0.3", proxied, b"").await;
    turned_away("127.0.0.2", proxied, b"GET / HTTP/1.1\r\n\r\n").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.4:0".parse().unwrap()).unwrap();
        held.push(socket.connect(encrypted).await.unwrap());
    }
    turned_away("127.0.0.4", encrypted, b"").await;
    let text = metrics(&Http::to(for_metrics)).await;
    for (reason, count) in [
        ("tls-handshake", 1.0),
        ("untrusted-proxy", 1.0),
        ("proxy-header", 1.0),
        ("connections-per-address", 1.0),
        ("connections", 0.0),
    ] {
        let name = format!("fedecks_turned_away_total{{reason=\"{reason}\"}}");
        assert_eq!(sample(&text, &name), count, "{reason}");
    }
}

#[tokio::test]
async fn a_listener_for_metrics_alone_needs_no_token_and_has_nothing_else() {
    let more = "[[listener]]\naddress = \"127.0.0.1:0\"\nserves = [\"metrics\"]\n";
    let server = Server::with(more).await;
    let http = Http::to(server.addresses()[1]);
    assert!(metrics(&http).await.contains("fedecks_connected_devices 0"));
    assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
    for path in ["/api/v1/devices", "/fedecks/websocket", "/"] {
        assert_eq!(http.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_configuration_is_checked_without_a_change() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let check = |configuration: &str| {
        std::fs::write(folder.path().join("cloud.toml"), configuration).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_fedecks-cloud"))
            .env_clear()
            .args(["check-config", "--config", "cloud.toml"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let good = std::fs::read_to_string(server.folder.path().join("cloud.toml")).unwrap();
    let (code, printed, _) = check(&good);
    assert_eq!(code, Some(0));
    assert_eq!(
        printed,
        "listener: 127.0.0.1:0, plaintext, devices and api and metrics\n\
         device socket: /fedecks/websocket\n\
         store: fedecks-data/fedecks.sqlite (to be made)\n\
         secret: configured\n"
    );
    for (year, word) in [(2020, "expired"), (2060, "expires")] {
        put_certificate(folder.path(), year);
        let tls = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
        let (code, printed, _) = check(&format!("{good}{tls}"));
        assert_eq!(code, Some(0));
        let told = format!("TLS with c.pem ({word} {year}-01-31T00:00:00Z), devices");
        assert!(printed.contains(&told), "{printed}");
    }
    for (wrong, named) in [
        ("[tls]\ncertificate = \"nowhere.pem\"\nkey = \"k.pem\"", "nowhere.pem"),
        ("[drain]\nspread = 5", "cloud.toml, line 5: drain.spread"),
        (
            "[[webhook]]\nname = \"x\"\nurl = \"http://x\"\nsecret_file = \"gone\"",
            "webhook.secret_file: cannot read gone",
        ),
    ] {
        let (code, _, complaint) = check(&format!("{good}{wrong}\n"));
        assert_eq!(code, Some(78), "{complaint}");
        assert!(complaint.contains(named), "{complaint}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}
