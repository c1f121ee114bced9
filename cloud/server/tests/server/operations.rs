//! Health checks, metrics and `check-config`, for operators.

use std::net::SocketAddr;

use fedecks_store::Role::{Read, Send};
use fedecks_testing::http::Http;
use fedecks_testing::wait::{until, within};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{METRICS, Server, metrics, problem, sample};

#[tokio::test]
async fn health_and_a_metrics_listener_need_no_token() {
    let server = Server::with(METRICS).await;
    let alive = server.http().get("/healthz").await;
    assert_eq!((alive.status, &*alive.text()), (StatusCode::OK, "ok\n"));
    let ready = server.http().get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.text(), r#"{"ready":true,"store":"ok","clock":"ok"}"#);

    let http = Http::to(server.addresses()[1]);
    assert!(metrics(&http).await.contains("fedecks_connected_devices 0"));
    assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
    for path in ["/api/v1/devices", "/fedecks/websocket", "/"] {
        assert_eq!(http.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn metrics_and_history_count_exactly_and_name_no_device() {
    let server = Server::start().await;
    assert_eq!(server.http().get("/metrics").await.status, StatusCode::UNAUTHORIZED);
    let limited = server.add_token("site", &[Read], Some("site-*")).await;
    let limited = server.http().token(&limited);
    assert_eq!(limited.get("/metrics").await.status, StatusCode::FORBIDDEN);
    let of_all = limited.get("/api/v1/history").await;
    assert_eq!(problem(&of_all), "403 limited-to-devices");
    let http = server.http_as(&[Read, Send]).await;

    let mut device = server.device("kitchen-1").await;
    // The current minute is in it.
    let history = http.get("/api/v1/history").await.json();
    for (counter, count) in [("connected", 1), ("connects", 1), ("refusals", 0)] {
        assert_eq!(history[counter], serde_json::json!([count]), "{counter}");
    }
    let leaving = server.device("hall-1").await;
    for number in 0..7 {
        device.client.send(&number).await.unwrap();
    }
    server.refuse_login("cellar-1").await;
    leaving.client.shutdown().await;
    let text = until(async || {
        let text = metrics(&http).await;
        let counted = sample(&text, "fedecks_disconnects_total") == 1.0
            && sample(&text, "fedecks_messages_received_total") == 7.0;
        counted.then_some(text)
    })
    .await;
    assert_eq!(sample(&text, "fedecks_connects_total"), 2.0);
    assert_eq!(sample(&text, "fedecks_connected_devices"), 1.0);
    // Two connections and seven messages.
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

    let answer = http.clone().json().post("/api/v1/devices/kitchen-1/messages", "[1]").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    device.message().await;
    assert_eq!(sample(&metrics(&http).await, "fedecks_messages_sent_total"), 1.0);
}

#[tokio::test]
async fn rejected_connections_are_counted_by_reason() {
    let lines = "trusted_proxies = [\"127.0.0.2\"]\n\
                 [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n\
                 [tls]\nself_signed = true\n\
                 [limits]\nconnections_per_address = 3\n";
    let server = Server::with(&format!("{lines}{METRICS}")).await;
    let addresses = server.addresses();
    let [encrypted, proxied, for_metrics] = addresses[..] else { panic!("{addresses:?}") };
    async fn connect(from: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        socket.connect(to).await.unwrap()
    }
    // The server closes each, whatever it answers before that.
    let turned_away = async |from: &str, to: SocketAddr, request: &[u8]| {
        let mut stream = connect(from, to).await;
        // It may be closed by then.
        let _ = stream.write_all(request).await;
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    };
    turned_away("127.0.0.3", encrypted, b"GET / HTTP/1.1\r\n\r\n").await;
    turned_away("127.0.0.3", proxied, b"").await;
    turned_away("127.0.0.2", proxied, b"GET / HTTP/1.1\r\n\r\n").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect("127.0.0.4", encrypted).await);
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
async fn head_is_answered_wherever_get_is() {
    let server = Server::start().await;
    let http = server.http_as(&[Read]).await;
    for path in ["/healthz", "/readyz", "/metrics", "/", "/api/v1/devices"] {
        let got = http.get(path).await;
        let head = http.ask(Method::HEAD, path, "").await;
        assert_eq!((head.status, head.body.len()), (got.status, 0), "{path}");
        assert_eq!(head.headers["content-type"], got.headers["content-type"], "{path}");
    }
    let refused = http.post("/healthz", "").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn metrics_have_the_format_that_is_asked_for() {
    let server = Server::with(METRICS).await;
    let http = Http::to(server.addresses()[1]);
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let classic = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, expected) in [
        ("", classic),
        ("*/*", classic),
        ("text/plain;version=0.0.4", classic),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", open),
        ("application/openmetrics-text;q=0.3, text/plain;q=0.8", classic),
        ("Application/OpenMetrics-Text; q=1, */*;q=0.1", open),
        ("application/openmetrics-text;q=0", classic),
    ] {
        let asking =
            if accept.is_empty() { http.clone() } else { http.clone().header("accept", accept) };
        let answer = asking.get("/metrics").await;
        assert_eq!(answer.headers["content-type"], expected, "{accept:?}");
        assert_eq!(answer.headers["vary"], "accept", "{accept:?}");
        let text = answer.text();
        assert_eq!(text.ends_with("# EOF\n"), expected == open, "{accept:?}");
        assert_eq!(text.contains("# UNIT "), expected == open, "{accept:?}");
        let declared = text.contains("# TYPE fedecks_messages_received_total counter\n");
        assert_eq!(declared, expected == classic, "{accept:?}");
    }
}
