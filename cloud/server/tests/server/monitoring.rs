//! The real Prometheus scrapes the server and checks the alert rules that are shipped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fedecks_testing::certificates::Certificate;
use fedecks_testing::http::Http;
use fedecks_testing::process_group::ProcessGroup;
use fedecks_testing::wait::{skip, until_every, within};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{METRICS, Server, metrics};

fn rules(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/prometheus").join(file)
}

/// The rules for each server, and those for several.
pub(crate) fn groups() -> [String; 2] {
    let all = std::fs::read_to_string(rules("alerts.yml")).unwrap();
    let (of_each, of_several) = all.split_once("- name: fedecks-cloud-several").unwrap();
    [of_each, of_several].map(str::to_owned)
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("fedecks_"))
        .map(str::to_owned)
        .collect()
}

/// The metrics that rules name and a server does not have.
pub(crate) fn missing(rules: &str, metrics: &str) -> Vec<String> {
    names(rules).difference(&names(metrics)).cloned().collect()
}

#[tokio::test]
async fn the_alert_rules_fire_and_stay_silent_as_their_tests_say() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let promtool = Command::new("promtool").args(arguments).current_dir(rules("")).output();
        let Ok(output) = within(promtool).await else {
            return skip("there is no promtool, which Debian has in the package prometheus");
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn every_metric_of_the_rules_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = Certificate::self_signed("localhost").write(folder.path());
    // One certificate for two listeners.
    let secure = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = {certificate:?}\nkey = {key:?}\n"
    );
    let webhook = "[[webhook]]\nname = \"crm\"\nurl = \"http://127.0.0.1:9\"\n\
                   secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";
    let server = Server::with(&format!("{secure}{secure}{METRICS}{webhook}")).await;
    server.refuse_login("cellar-1").await;
    let text = metrics(&Http::to(server.addresses()[3])).await;
    let [of_each, of_several] = groups();
    assert!(names(&of_each).len() >= 8 && names(&of_several).len() >= 4);
    assert_eq!(missing(&of_each, &text), [""; 0], "not in:\n{text}");
    assert_eq!(missing(&of_several, &text).len(), names(&of_several).len(), "of one that is alone");
    // Prometheus rejects duplicate series.
    assert_eq!(text.matches("fedecks_certificate_expiry_timestamp_seconds{").count(), 1);
}

#[tokio::test]
async fn prometheus_scrapes_the_server_as_the_manual_says() {
    let server = Server::with(METRICS).await;
    let _device = server.device("kitchen-1").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(rules("alerts.yml"), folder.path().join("alerts.yml")).unwrap();
    let manual = include_str!("../../../../docs/cloud.md");
    let (_, alerts) = manual.split_once("### Alerts").unwrap();
    let (_, yaml) = alerts.split_once("```yaml\n").unwrap();
    let (configuration, _) = yaml.split_once("```").unwrap();
    assert!(configuration.contains("\"127.0.0.1:9100\""));
    let configuration = configuration.replace("127.0.0.1:9100", &server.addresses()[1].to_string());
    let often = "global: { scrape_interval: 1s, evaluation_interval: 1s }\n";
    std::fs::write(folder.path().join("prometheus.yml"), format!("{often}{configuration}"))
        .unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("prometheus");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(folder.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut prometheus) = ProcessGroup::spawn(&mut command) else {
        return skip("there is no prometheus");
    };
    let http = Http::to(([127, 0, 0, 1], port).into());
    let query = "/api/v1/query?query=fedecks_connected_devices%7Bjob%3D%22fedecks-cloud%22%7D";
    let value = until_every(Duration::from_millis(100), async || {
        assert!(prometheus.0.try_wait().unwrap().is_none(), "prometheus has ended");
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        // Until it is ready it answers 503, with a text.
        let answer = http.get(query).await;
        let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(value, "1");
    let loaded: Value = http.get("/api/v1/rules").await.json();
    let groups = loaded["data"]["groups"].as_array().unwrap();
    let counts: Vec<_> = groups.iter().map(|it| it["rules"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [17, 5]);
}

#[tokio::test]
async fn promtool_accepts_the_older_text_format() {
    let server = Server::with(METRICS).await;
    server.refuse_login("cellar-1").await;
    let text = metrics(&Http::to(server.addresses()[1])).await;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.stdout(Stdio::piped()).spawn() else {
        return skip("there is no promtool, which Debian has in the package prometheus");
    };
    let mut input = promtool.stdin.take().unwrap();
    within(input.write_all(text.as_bytes())).await.unwrap();
    drop(input);
    let output = within(promtool.wait_with_output()).await.unwrap();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problems}{text}");
}
