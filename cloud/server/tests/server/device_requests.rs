//! Requests to devices through the API: the answer, and every way in which there is none.

use std::time::Duration;

use fedecks_protocol::{Capabilities, UpFrame};
use fedecks_store::Role;
use fedecks_testing::raw_device::RawDevice;
use fedecks_testing::wait::within;
use http::StatusCode;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Server, problem};

const REQUESTS: &str = "/api/v1/devices/kitchen-1/requests";

#[tokio::test]
async fn a_device_answers_and_refuses() {
    let server = Server::start().await;
    let http = server.http_as(&[Role::Send]).await;
    let device = server.device("kitchen-1").await;
    let json = http.clone().header("content-type", "application/json");
    let unhandled = json.post(REQUESTS, "1").await;
    assert_eq!(problem(&unhandled), "409 device-cannot-answer");

    let mut requests = device.client.requests().unwrap();
    let answered = async {
        let request = requests.next().await.unwrap();
        assert_eq!(request.parse::<(u32, u32)>().unwrap(), (1, 2));
        request.reply(&("sum", 3)).await.unwrap();
        requests.next().await.unwrap().fail("out of order").await.unwrap();
        let mut last = requests.next().await.unwrap();
        last.cancelled().await;
    };
    let asked = async {
        let answer = json.post(REQUESTS, "[1, 2]").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json(), json!({ "reply": ["sum", 3] }));
        let refused = json.post(REQUESTS, "2").await;
        assert_eq!(problem(&refused), "409 request-refused");
        assert!(refused.json()["detail"].as_str().unwrap().contains("out of order"));
        let timed_out = json.post(&format!("{REQUESTS}?timeout=1"), "3").await;
        assert_eq!(problem(&timed_out), "504 outcome-unknown");
    };
    within(async { tokio::join!(answered, asked) }).await;
}

#[tokio::test]
async fn nothing_is_sent_where_there_is_no_answer() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await;
    let json = http.clone().header("content-type", "application/json");
    assert_eq!(problem(&json.post(REQUESTS, "1").await), "404 device-not-found");
    for timeout in ["0", "601", "30s"] {
        let answer = json.post(&format!("{REQUESTS}?timeout={timeout}"), "1").await;
        assert_eq!(problem(&answer), "400 invalid-query");
    }
    let mut old = RawDevice::connect(server.address, "kitchen-1").await;
    old.send(&UpFrame::Hello(Capabilities::KEEP_ALIVE)).await;
    assert_eq!(problem(&json.post(REQUESTS, "1").await), "409 device-cannot-answer");
    drop(old);
    let metrics = http.get("/metrics").await.text();
    let counted = "fedecks_device_requests_total{outcome=\"unsupported\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("fedecks_device_request_duration_seconds_count 1"), "{metrics}");
}

#[tokio::test]
async fn the_outcome_is_unknown_if_the_device_leaves() {
    let server = Server::start().await;
    let http = server.http_as(&[Role::Send]).await;
    let device = server.device("kitchen-1").await;
    let mut requests = device.client.requests().unwrap();
    let json = http.clone().header("content-type", "application/json");
    let leaves = async {
        let request = requests.next().await.unwrap();
        device.client.shutdown().await;
        drop(request);
    };
    let (answer, ()) = within(async { tokio::join!(json.post(REQUESTS, "1"), leaves) }).await;
    assert_eq!(problem(&answer), "504 outcome-unknown");
    // It is in the store about a second after its login.
    let is_known = async {
        while problem(&json.post(REQUESTS, "1").await) != "409 device-not-connected" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    within(is_known).await;
}
