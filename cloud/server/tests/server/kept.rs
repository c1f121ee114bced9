//! Kept messages of devices: in the log that the API lists, in events and with webhooks.

use std::time::Duration;

use fedecks_device::kept::{Keep, Settled};
use fedecks_store::Role;
use fedecks_testing::cloud_process::CloudProcess;
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{PROGRAM, Server, problem};
use crate::webhooks::Receiver;

const LOG: &str = "/api/v1/messages";

async fn keep(device: &Device, value: &str, keep: Keep) -> String {
    let kept = device.client.send_kept(value, keep).await.unwrap();
    let id = kept.id().to_string();
    assert_eq!(kept.settled().await, Ok(Settled::Delivered));
    id
}

async fn page(http: &Http, query: &str) -> Value {
    let answer = http.get(&format!("{LOG}{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_stored_message_is_listed_until_it_was_read() {
    let server = Server::start().await;
    let http = server.http_as(&[Role::Read]).await;
    let device = server.device("kitchen-1").await;
    let other = server.device("hall-1").await;
    let mut stream = http.events("/api/v1/events?kind=message").await;
    let ids = [
        keep(&device, "one", Keep::in_memory()).await,
        keep(&device, "two", Keep::in_memory().urgent()).await,
        keep(&other, "three", Keep::in_memory()).await,
    ];
    let all = page(&http, "").await;
    let listed = all["messages"].as_array().unwrap();
    let texts: Vec<_> = listed.iter().map(|it| it["message"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    for (place, (listed, id)) in listed.iter().zip(&ids).enumerate() {
        assert_eq!(listed["id"], **id);
        assert_eq!(listed["device"], if place < 2 { "kitchen-1" } else { "hall-1" });
        assert_eq!(listed["lane"], if place == 1 { "urgent" } else { "normal" });
        assert_eq!((&listed["redelivered"], &listed["bytes"]), (&json!(false), &Value::Null));
        assert!(listed["sent_at"].is_string() && listed["received_at"].is_string(), "{listed}");
    }
    let event = stream.next().await;
    assert_eq!((&event["message"], &event["kept"]["id"]), (&json!("one"), &json!(ids[0])));

    let next = all["next"].as_str().unwrap();
    let rest = page(&http, &format!("?after={next}")).await;
    assert_eq!(rest, json!({ "messages": [], "next": next, "missed": 0 }));
    let first = page(&http, "?limit=1").await;
    let after = first["next"].as_str().unwrap();
    let second = page(&http, &format!("?limit=1&after={after}")).await;
    assert_eq!(second["messages"][0]["message"], "two");
    let hall = page(&http, "?device=hall-*").await;
    assert_eq!(hall["messages"].as_array().unwrap().len(), 1);
    assert_eq!(hall["next"], *next, "what is of other devices is passed over");
    for query in ["?after=x", "?device=", "?limit=0", "?before=1"] {
        assert_eq!(problem(&http.get(&format!("{LOG}{query}")).await), "400 invalid-query");
    }

    let raw = device.client.send_raw_kept(&[0, 255], Keep::in_memory()).await.unwrap();
    raw.settled().await.unwrap();
    let bytes = page(&http, &format!("?after={next}")).await;
    let listed = &bytes["messages"][0];
    assert_eq!((&listed["message"], &listed["bytes"]), (&Value::Null, &json!("AP8=")));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_of_the_server() {
    let mut receiver = Receiver::start().await;
    receiver.answer(503);
    let configuration = receiver.configuration("kinds = [\"message\"]\n");
    let mut cloud = CloudProcess::start(PROGRAM, &configuration).await;
    let token = cloud.token("reader", &["--role", "read"]).await;
    let device = Device::logged_in(cloud.address, "kitchen-1").await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(keep(&device, &format!("m{number}"), Keep::in_memory()).await);
    }
    cloud.kill().await;
    let later = device.client.send_kept("while it was away", Keep::in_memory()).await.unwrap();
    ids.push(later.id().to_string());
    receiver.forget();
    receiver.answer(204);
    cloud.start_again().await;
    assert_eq!(later.settled().await, Ok(Settled::Delivered));

    let http = cloud.http().token(&token);
    let listed = page(&http, "").await;
    let listed: Vec<_> =
        listed["messages"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(listed, ids);
    let mut delivered = Vec::new();
    while delivered.len() < ids.len() {
        let delivery = receiver.next().await;
        let json = delivery.json();
        assert_eq!(delivery.header("webhook-id"), json["id"].as_str().unwrap());
        let id = json["kept"]["id"].clone();
        // A delivery that was under way when the server was killed is repeated.
        if delivered.last() != Some(&id) {
            delivered.push(id);
        }
    }
    assert_eq!(delivered, ids);
}

#[tokio::test]
async fn the_log_is_limited_to_what_the_token_may_see() {
    let server = Server::start().await;
    let token = server.add_token("hall", &[Role::Read], Some("hall-*")).await;
    let http = server.http().token(&token);
    let device = server.device("kitchen-1").await;
    keep(&device, "hidden", Keep::in_memory()).await;
    assert_eq!(page(&http, "").await["messages"], json!([]));
    assert_eq!(page(&http, "?device=kitchen-1").await["messages"], json!([]));
    let expiring = Keep::in_memory().expires_in(Duration::from_secs(1));
    keep(&device, "in time", expiring).await;
}
