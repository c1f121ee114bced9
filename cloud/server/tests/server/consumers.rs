//! Named consumers of the log of kept messages.

use fedecks_device::kept::{Keep, Settled};
use fedecks_store::{MessageStore, Role};
use fedecks_testing::device::Device;
use fedecks_testing::http::{Answer, Http};
use fedecks_testing::wait::until;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{METRICS, Server, metrics, problem, sample};

const LOG: &str = "/api/v1/messages";
const CONSUMERS: &str = "/api/v1/messages/consumers";

/// Keeps messages with these numbers, which are their numbers in the log too.
async fn keep(device: &Device, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let kept = device.client.send_kept(&number.to_string(), Keep::in_memory()).await.unwrap();
        assert_eq!(kept.settled().await, Ok(Settled::Delivered));
    }
}

/// The numbers on a page, its `next` and what was missed.
async fn page(http: &Http, query: &str) -> (Vec<u64>, String, u64) {
    let answer = http.get(&format!("{LOG}?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let page = answer.json();
    let messages = page["messages"].as_array().unwrap().iter();
    let numbers = messages.map(|it| it["message"].as_str().unwrap().parse().unwrap());
    let next = page["next"].as_str().unwrap().to_owned();
    (numbers.collect(), next, page["missed"].as_u64().unwrap())
}

async fn acknowledge(http: &Http, name: &str, body: &Value) -> Answer {
    http.clone().json().post(&format!("{CONSUMERS}/{name}/ack"), body.to_string()).await
}

async fn consumers(http: &Http) -> Vec<Value> {
    let mut all = http.get(CONSUMERS).await.json()["consumers"].as_array().unwrap().clone();
    for consumer in &mut all {
        let used_at = consumer.as_object_mut().unwrap().remove("used_at").unwrap();
        assert!(used_at.as_str().unwrap().ends_with('Z'), "{used_at}");
    }
    all
}

#[tokio::test]
async fn a_consumer_continues_after_what_it_acknowledged() {
    let server = Server::start().await;
    let token = server.token(&[Role::Read]).await;
    let http = server.http().token(&token);
    let device = server.device("kitchen-1").await;
    keep(&device, 1..=5).await;
    let two = "consumer=crm&limit=2";
    for _ in 0..2 {
        let expected = (vec![1, 2], "2".to_owned(), 0);
        assert_eq!(page(&http, two).await, expected, "until it is acknowledged");
    }
    assert_eq!(page(&http, &format!("{two}&after=2")).await.0, [3, 4]);
    let done = acknowledge(&http, "crm", &json!({ "next": "4" })).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
    let late = acknowledge(&http, "crm", &json!({ "next": "3" })).await;
    assert_eq!(late.status, StatusCode::NO_CONTENT, "{late:?}");
    assert_eq!(page(&http, "consumer=other").await.0, [1, 2, 3, 4, 5]);
    drop(device);

    let server = server.restart(|| ()).await;
    let http = server.http().token(&token);
    assert_eq!(page(&http, "consumer=crm").await, (vec![5], "5".to_owned(), 0));
    assert_eq!(page(&http, "consumer=crm&after=5").await, (vec![], "5".to_owned(), 0));
    assert_eq!(page(&http, "consumer=crm&after=1").await, (vec![], "5".to_owned(), 0), "late");
    assert_eq!(page(&http, "after=1&limit=1").await.0, [2], "without a name nothing is kept");
    let expected = |name: &str, next: &str, waiting: u64| {
        json!({
            "name": name, "device": null, "limited_to": null, "next": next, "waiting": waiting, "missed": 0,
        })
    };
    assert_eq!(consumers(&http).await, [expected("crm", "5", 0), expected("other", "0", 5)]);
}

#[tokio::test]
async fn a_consumer_learns_what_left_the_log_unread() {
    let server = Server::start().await;
    let http = server.http_as(&[Role::Read]).await;
    let device = server.device("kitchen-1").await;
    keep(&device, 1..=3).await;
    assert_eq!(page(&http, "consumer=crm&limit=1").await, (vec![1], "1".to_owned(), 0));
    // All but the newest.
    server.store.trim_log(u64::MAX, 0).await.unwrap();
    assert_eq!(consumers(&http).await[0]["missed"], 2);
    for _ in 0..2 {
        let expected = (vec![3], "3".to_owned(), 2);
        assert_eq!(page(&http, "consumer=crm").await, expected, "until it is acknowledged");
    }
    assert_eq!(page(&http, "consumer=crm&after=3").await, (vec![], "3".to_owned(), 0));
    let all = consumers(&http).await;
    assert_eq!((&all[0]["missed"], &all[0]["waiting"]), (&json!(2), &json!(0)), "in all");
    // It was read before it left the log.
    keep(&device, 4..=6).await;
    assert_eq!(page(&http, "consumer=crm").await.0, [4, 5, 6]);
    server.store.trim_log(u64::MAX, 0).await.unwrap();
    assert_eq!(page(&http, "consumer=crm&after=6").await, (vec![], "6".to_owned(), 0));
    assert_eq!(consumers(&http).await[0]["missed"], 2);
}

#[tokio::test]
async fn the_metrics_say_how_far_a_consumer_is() {
    let server = Server::with(METRICS).await;
    let http = server.http_as(&[Role::Read]).await;
    let device = server.device("kitchen-1").await;
    keep(&device, 1..=3).await;
    page(&http, "consumer=crm&limit=1").await;
    server.store.trim_log(u64::MAX, 0).await.unwrap();
    keep(&device, 4..=4).await;
    // They are read at the start, and every 10 s.
    let server = server.restart(|| ()).await;
    let scraped = Http::to(server.addresses()[1]);
    let text = until(async || {
        let text = metrics(&scraped).await;
        text.contains("{consumer=\"crm\"}").then_some(text)
    })
    .await;
    assert_eq!(sample(&text, "fedecks_consumer_waiting{consumer=\"crm\"}"), 2.0);
    assert_eq!(sample(&text, "fedecks_consumer_missed_total{consumer=\"crm\"}"), 2.0);
}

#[tokio::test]
async fn what_the_log_does_not_have_is_not_acknowledged() {
    let server = Server::start().await;
    let http = server.http_as(&[Role::Read]).await;
    let device = server.device("kitchen-1").await;
    keep(&device, 1..=2).await;
    assert_eq!(page(&http, "consumer=crm&after=9").await.0, [1, 2], "as after a restore");
    let beyond = acknowledge(&http, "crm", &json!({ "next": "3" })).await;
    assert_eq!(problem(&beyond), "409 beyond-log");
    let unknown = acknowledge(&http, "unknown", &json!({ "next": "1" })).await;
    assert_eq!(problem(&unknown), "404 consumer-not-found");
    for body in [json!({ "next": "x" }), json!({ "next": 1 }), json!({}), json!({ "next": "-1" })] {
        let invalid = acknowledge(&http, "crm", &body).await;
        assert_eq!(problem(&invalid), "422 invalid-body", "{body}");
    }
    for name in ["", "a%20b", "%2E", &"a".repeat(65)] {
        let invalid = http.get(&format!("{LOG}?consumer={name}")).await;
        assert_eq!(problem(&invalid), "400 invalid-query", "{name}");
    }
    assert_eq!(page(&http, "consumer=crm").await.0, [1, 2]);
    assert_eq!(consumers(&http).await.len(), 1);
}

#[tokio::test]
async fn a_limited_token_does_not_reach_consumers_of_others() {
    let server = Server::start().await;
    let roles = [Role::Read, Role::Admin];
    let all = server.http_as(&roles).await;
    let hall = server.http().token(&server.add_token("hall", &roles, Some("hall-*")).await);
    let yard = server.http().token(&server.add_token("yard", &roles, Some("yard-*")).await);
    keep(&server.device("kitchen-1").await, 1..=1).await;
    keep(&server.device("hall-1").await, 2..=2).await;
    assert_eq!(page(&all, "consumer=all").await.0, [1, 2]);
    assert_eq!(page(&all, "consumer=kitchen&device=kitchen-*").await, (vec![1], "2".to_owned(), 0));
    assert_eq!(page(&hall, "consumer=hall").await, (vec![2], "2".to_owned(), 0));
    let other = hall.get(&format!("{LOG}?consumer=all&after=2")).await;
    assert_eq!(problem(&other), "409 consumer-of-other-devices");
    let other = all.get(&format!("{LOG}?consumer=kitchen")).await;
    assert_eq!(problem(&other), "409 consumer-of-other-devices");
    let hidden = acknowledge(&hall, "all", &json!({ "next": "2" })).await;
    assert_eq!(problem(&hidden), "404 consumer-not-found");
    let hidden = yard.ask(Method::DELETE, &format!("{CONSUMERS}/hall"), "").await;
    assert_eq!(problem(&hidden), "404 consumer-not-found");
    let names = async |http: &Http| -> Vec<String> {
        let listed = consumers(http).await.into_iter();
        listed.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all).await, ["all", "hall", "kitchen"]);
    assert_eq!(names(&hall).await, ["hall"]);
    assert_eq!(names(&yard).await, [""; 0]);
    assert_eq!(page(&all, "consumer=all").await.0, [1, 2], "nothing was acknowledged for it");
    assert_eq!(consumers(&hall).await[0]["limited_to"], "hall-*");
    assert_eq!(consumers(&all).await[2]["device"], "kitchen-*");

    let removed = hall.ask(Method::DELETE, &format!("{CONSUMERS}/hall"), "").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    assert_eq!(names(&all).await, ["all", "kitchen"]);
    let reader = server.http_as(&[Role::Read]).await;
    let refused = reader.ask(Method::DELETE, &format!("{CONSUMERS}/all"), "").await;
    assert_eq!(problem(&refused), "403 role-missing");
}

#[tokio::test]
async fn there_are_at_most_a_hundred_consumers() {
    let server = Server::start().await;
    let http = server.http_as(&[Role::Read, Role::Admin]).await;
    for number in 0..100 {
        page(&http, &format!("consumer=c{number}")).await;
    }
    let refused = http.get(&format!("{LOG}?consumer=more")).await;
    assert_eq!(problem(&refused), "409 too-many-consumers");
    let removed = http.ask(Method::DELETE, &format!("{CONSUMERS}/c7"), "").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    page(&http, "consumer=more").await;
    assert_eq!(consumers(&http).await.len(), 100);
}
