//! The HTTP API, as programs see it.

use std::collections::HashSet;

use fedecks_device::Event;
use fedecks_protocol::JsonTerm;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Http, Server, within};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn everything(server: &Server) -> Http {
    let token = server.token(&["--role", "read", "--role", "send", "--role", "admin"]).await;
    server.http().token(&token)
}

/// The status and the code of a problem.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    let json = answer.json();
    assert_eq!(json["status"], answer.status.as_u16());
    (answer.status.as_u16(), json["code"].as_str().unwrap().to_owned())
}

/// A device once the store knows it too, about a second after it came.
async fn in_the_store(http: &Http, path: &str) -> Value {
    within(async {
        loop {
            let seen = http.get(path).await.json();
            if seen["first_seen"].is_string() {
                return seen;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn without_a_token_nothing_answers_and_nobody_learns_what_there_is() {
    let server = Server::start().await;
    let http = server.http();
    for path in ["/api", "/api/v1/devices", "/api/v1/openapi.json", "/api/v1/nothing"] {
        let answer = http.get(path).await;
        assert_eq!(problem(&answer), (401, "unauthorized".into()), "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"fedecks\"");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for header in ["Bearer fdk_wrong", "Bearer", "Basic dTpw", ""] {
        let answer = http.clone().header("authorization", header).get("/api/v1/devices").await;
        assert_eq!(problem(&answer), (401, "unauthorized".into()), "{header:?}");
    }
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down_and_the_right_one_is_not() {
    let server = Server::with("[limits]\nfailed_logins_per_address = 3\n").await;
    let wrong = server.http().token("fdk_wrong");
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(problem(&wrong.get("/api/v1/devices").await).0);
    }
    assert_eq!(codes[..3], [401, 401, 401]);
    assert!(codes[3..].contains(&429), "{codes:?}");
    let right = everything(&server).await;
    assert_eq!(right.get("/api/v1/devices").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_token_is_soon_refused() {
    let server = Server::start().await;
    let token = server.token_named("ci", &["--role", "read"]).await;
    let http = server.http().token(&token);
    assert_eq!(http.get("/api/v1/token").await.json()["name"], "ci");
    server.revoke("ci", &token).await;
}

#[tokio::test]
async fn each_role_allows_what_it_names_and_nothing_else() {
    let server = Server::start().await;
    let _device = server.connected_device("kitchen-1").await;
    let document = everything(&server).await.get("/api/v1/openapi.json").await.json();
    let mut checked = HashSet::new();
    for role in ["read", "send", "admin"] {
        let token = server.token(&["--role", role]).await;
        let http = server.http().token(&token).header(JSON.0, JSON.1);
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let Some(takes) = operation["description"].as_str() else { continue };
                let allowed = takes == format!("Requires the role `{role}`.");
                if allowed {
                    checked.insert(takes.to_owned());
                    continue;
                }
                let path = path.replace("{id}", "kitchen-1").replace("{name}", "arthur");
                let method = method.to_ascii_uppercase().parse::<Method>().unwrap();
                let answer = http.ask(method.clone(), &path, "{}").await;
                assert_eq!(
                    problem(&answer),
                    (403, "role-missing".into()),
                    "{role} {method} {path}"
                );
            }
        }
    }
    assert_eq!(checked.len(), 3);
}

#[tokio::test]
async fn a_device_is_seen_labelled_disconnected_blocked_and_forgotten() {
    let server = Server::start().await;
    let http = everything(&server).await;
    let mut device = server.connected_device("kitchen-1").await;
    let path = "/api/v1/devices/kitchen-1";
    let seen = in_the_store(&http, path).await;
    assert_eq!((&seen["connected"], &seen["label"]), (&json!(true), &Value::Null));

    let change = http.clone().header(JSON.0, JSON.1);
    let labelled = change.ask(Method::PATCH, path, r#"{"label":"Küche"}"#).await;
    assert_eq!(labelled.json()["label"], "Küche");
    let found = http.get("/api/v1/devices?search=k%C3%BCche&connected=true").await.json();
    assert_eq!(found["devices"].as_array().unwrap().len(), 1);
    for (body, code) in [
        ("{\"label\":\" \"}", (422, "invalid-body")),
        ("{}", (422, "invalid-body")),
        ("{\"label\":1}", (422, "invalid-body")),
        ("{\"name\":\"x\"}", (422, "invalid-body")),
        ("{", (400, "invalid-json")),
        ("", (400, "invalid-json")),
    ] {
        let answer = change.ask(Method::PATCH, path, body).await;
        assert_eq!(problem(&answer), (code.0, code.1.into()), "{body}");
    }

    let post = async |what: &str| http.ask(Method::POST, &format!("{path}/{what}"), "").await;
    assert_eq!(post("disconnect").await.status, StatusCode::NO_CONTENT);
    device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    device.until(|event| *event == Event::Connected).await;
    assert_eq!(post("block").await.status, StatusCode::NO_CONTENT);
    device.until(|event| matches!(event, Event::ConnectionLost { .. })).await;
    assert_eq!(post("block").await.status, StatusCode::NO_CONTENT);
    assert_eq!(http.get(path).await.json()["blocked"], true);
    let forgotten = http.ask(Method::DELETE, path, "").await;
    assert_eq!(problem(&forgotten), (409, "device-blocked".into()));
    assert_eq!(post("unblock").await.status, StatusCode::NO_CONTENT);
    assert_eq!(post("revoke").await.status, StatusCode::NO_CONTENT);
    assert_eq!(http.ask(Method::DELETE, path, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(problem(&http.get(path).await), (404, "device-not-found".into()));

    let audit = http.get("/api/v1/audit?device=kitchen-1").await.json();
    let actions: HashSet<_> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect();
    for action in ["device-labelled", "device-blocked", "device-unblocked", "device-revoked"] {
        assert!(actions.contains(action), "{actions:?}");
    }
}

#[tokio::test]
async fn a_message_of_json_and_one_of_bytes_reach_the_device() {
    let server = Server::start().await;
    let http = everything(&server).await;
    let mut device = server.connected_device("kitchen-1").await;
    let path = "/api/v1/devices/kitchen-1/messages";
    let json = http.clone().header(JSON.0, JSON.1);
    let sent = json.ask(Method::POST, path, r#"{"fan":{"$atom":"on"},"speed":[1,2.5,null]}"#).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    let Event::Message(term) = device.until(|event| matches!(event, Event::Message(_))).await
    else {
        unreachable!()
    };
    let text = serde_json::to_string(&JsonTerm(&term)).unwrap();
    assert_eq!(text, r#"{"fan":{"$atom":"on"},"speed":[1,2.5,null]}"#);
    let raw = http.clone().header("content-type", "application/octet-stream");
    assert_eq!(raw.ask(Method::POST, path, "\u{0}hello").await.status, StatusCode::ACCEPTED);
    let event = device.until(|event| matches!(event, Event::RawMessage(_))).await;
    assert_eq!(event, Event::RawMessage(b"\0hello".to_vec()));

    for (content_type, body, code) in [
        ("application/json", "{\"$int\":1}", (422, "invalid-body")),
        ("application/json", "not JSON", (400, "invalid-json")),
        ("text/plain", "hello", (415, "unsupported-media-type")),
        ("", "hello", (415, "unsupported-media-type")),
    ] {
        let answer =
            http.clone().header("content-type", content_type).ask(Method::POST, path, body).await;
        assert_eq!(problem(&answer), (code.0, code.1.into()), "{content_type} {body}");
    }
    let big = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    assert_eq!(problem(&json.ask(Method::POST, path, big).await), (413, "message-too-big".into()));
    let bigger = vec![b' '; 9 * 1024 * 1024];
    assert_eq!(problem(&json.ask(Method::POST, path, bigger).await), (413, "body-too-big".into()));
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(problem(&json.ask(Method::POST, path, deep).await), (400, "invalid-json".into()));

    in_the_store(&http, "/api/v1/devices/kitchen-1").await;
    device.client.shutdown().await;
    let gone = within(async {
        loop {
            let answer = json.ask(Method::POST, path, "1").await;
            if answer.status != StatusCode::ACCEPTED {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(problem(&gone), (409, "device-not-connected".into()));
}

#[tokio::test]
async fn what_does_not_exist_and_what_may_not_be_seen_answer_alike() {
    let server = Server::start().await;
    let _device = server.connected_device("shop-1").await;
    let roles = ["--role", "read", "--role", "send", "--role", "admin", "--devices", "site-*"];
    let http = server.http().token(&server.token(&roles).await).header(JSON.0, JSON.1);
    for (method, path) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::GET, "/presence"),
        (Method::POST, "/messages"),
        (Method::POST, "/disconnect"),
        (Method::POST, "/revoke"),
        (Method::POST, "/block"),
        (Method::POST, "/unblock"),
    ] {
        let ask = |id: &str| {
            let path = format!("/api/v1/devices/{id}{path}");
            let (http, method) = (http.clone(), method.clone());
            async move { http.ask(method, &path, r#"{"label":null}"#).await }
        };
        let unseen = ask("shop-1").await;
        assert_eq!(problem(&unseen), (404, "device-not-found".into()), "{method} {path}");
        for id in ["shop-2", "site-1", "not%20an%20id"] {
            assert_eq!(ask(id).await.body, unseen.body, "{method} {path} {id}");
        }
    }
    assert_eq!(http.get("/api/v1/presence").await.json()["connected"], 0);
    assert_eq!(http.get("/api/v1/devices").await.json()["devices"], json!([]));
    for path in ["/api/v1/accounts", "/api/v1/audit"] {
        assert_eq!(problem(&http.get(path).await), (403, "limited-to-devices".into()));
    }
}

#[tokio::test]
async fn pages_go_on_where_the_one_before_ended_while_devices_come_and_go() {
    let server = Server::start().await;
    let http = everything(&server).await;
    for number in 0..25 {
        server.command(&["device", "revoke", &format!("device-{number:02}")]).await;
    }
    let _connected = server.connected_device("device-30").await;
    in_the_store(&http, "/api/v1/devices/device-30").await;
    let mut all = Vec::new();
    let mut path = "/api/v1/devices?limit=10".to_owned();
    for page in 0.. {
        let answer = http.get(&path).await.json();
        all.extend(
            answer["devices"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d["id"].as_str().unwrap().to_owned()),
        );
        if page == 0 {
            http.ask(Method::DELETE, "/api/v1/devices/device-03", "").await;
            server.command(&["device", "revoke", "device-095"]).await;
        }
        let Some(next) = answer["next"].as_str() else { break };
        path = format!("/api/v1/devices?limit=10&cursor={next}");
    }
    let mut expected: Vec<_> = (0..25).map(|number| format!("device-{number:02}")).collect();
    expected.insert(10, "device-095".into());
    expected.push("device-30".into());
    assert_eq!(all, expected);

    let gone = http.get("/api/v1/devices?connected=false&limit=500").await.json();
    assert_eq!(gone["devices"].as_array().unwrap().len(), 25);
    let here = http.get("/api/v1/devices?connected=true").await.json();
    assert_eq!(here["devices"][0]["id"], "device-30");
    let presence = http.get("/api/v1/presence").await.json();
    assert_eq!(
        (&presence["connected"], &presence["devices"][0]["id"]),
        (&json!(1), &json!("device-30"))
    );
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let server = Server::start().await;
    let http = everything(&server).await;
    for (path, named) in [
        ("/api/v1/devices?limit=0", "limit is \"0\", expected 1 to 500"),
        ("/api/v1/devices?limit=many", "limit is \"many\""),
        ("/api/v1/devices?connected=yes", "connected is \"yes\", expected true or false"),
        ("/api/v1/devices?cursor=%25", "cursor is \"%\""),
        ("/api/v1/devices?limit=1&limit=2", "query parameter limit is given more than once"),
        ("/api/v1/devices?sort=id", "unknown parameter \"sort\", expected search, connected"),
        ("/api/v1/token?x=1", "unknown parameter \"x\", expected none"),
        ("/api/v1/events?kind=messages", "kind is \"messages\", expected one of connected"),
        ("/api/v1/events?device=a/b", "device is \"a/b\""),
        ("/api/v1/audit?device=a%20b", "device is \"a b\", expected a device id"),
    ] {
        let answer = http.get(path).await;
        assert_eq!(problem(&answer), (400, "invalid-query".into()), "{path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named), "{path}: {detail}");
    }
    let answer = http.ask(Method::POST, "/api/v1/devices", "").await;
    assert_eq!(problem(&answer), (405, "method-not-allowed".into()));
    assert_eq!(answer.headers["allow"], "GET");
    assert_eq!(problem(&http.get("/api/v1/nothing").await), (404, "not-found".into()));
    assert_eq!(problem(&http.get("/api/v1/devices/%ff").await), (400, "invalid-path".into()));
}

#[tokio::test]
async fn accounts_come_and_go() {
    let server = Server::start().await;
    let http = everything(&server).await.header(JSON.0, JSON.1);
    let path = "/api/v1/accounts/arthur";
    let add =
        |password: &str| http.ask(Method::PUT, path, json!({ "password": password }).to_string());
    assert_eq!(problem(&add("short").await), (422, "invalid-body".into()));
    assert_eq!(add("where is the tea").await.status, StatusCode::CREATED);
    assert_eq!(problem(&add("where is the tea").await), (409, "account-exists".into()));
    let names: Vec<_> = http.get("/api/v1/accounts").await.json()["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["name"].clone())
        .collect();
    assert_eq!(names, ["arthur", "marvin"]);
    let mut device = server.device("kitchen-1");
    device.login_as("arthur", "where is the tea").await;
    assert_eq!(http.ask(Method::DELETE, path, "").await.status, StatusCode::NO_CONTENT);
    let again = http.ask(Method::DELETE, path, "").await;
    assert_eq!(problem(&again), (404, "account-not-found".into()));
}

#[tokio::test]
async fn a_term_that_a_device_sends_stands_among_the_events_as_they_happen() {
    let server = Server::start().await;
    let http = everything(&server).await;
    let mut stream = http.events("/api/v1/events?device=kitchen-*").await;
    let device = server.connected_device("kitchen-1").await;
    let _other = server.connected_device("hall-1").await;
    let connected = stream.next().await;
    assert_eq!(connected["kind"], "connected");
    device.client.send(&"hello").await.unwrap();
    let event = stream.next().await;
    assert_eq!((&event["kind"], &event["message"]), (&json!("message"), &json!("hello")));

    // Those after it, by its id.
    device.client.send(&"again").await.unwrap();
    assert_eq!(stream.next().await["message"], "again");
    let id = event["id"].as_str().unwrap();
    let mut resumed =
        http.clone().header("last-event-id", id).events("/api/v1/events?kind=message").await;
    assert_eq!(resumed.next().await["message"], "again");
    // A browser says the newer one in the header, and asks by the same URL as at first.
    let path = format!("/api/v1/events?kind=message&after={}", connected["id"].as_str().unwrap());
    let mut resumed = http.clone().header("last-event-id", id).events(&path).await;
    assert_eq!(resumed.next().await["message"], "again");
    let mut lost = http.events("/api/v1/events?after=0-1").await;
    assert_eq!(lost.next().await["kind"], "gap");

    // Refusals too.
    let mut refused = http.events("/api/v1/events?kind=refused").await;
    let stranger = server.device("cellar-1");
    stranger.fails_to_log_in().await;
    let event = refused.next().await;
    assert_eq!(
        (&event["device"], &event["reason"]),
        (&json!("cellar-1"), &json!("bad-credentials"))
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_tells_only_of_its_devices() {
    let server = Server::start().await;
    let token = server.token_named("site", &["--role", "read", "--devices", "site-*"]).await;
    let mut stream = server.http().token(&token).events("/api/v1/events").await;
    let unseen = server.connected_device("shop-1").await;
    let seen = server.connected_device("site-1").await;
    assert_eq!(stream.next().await["device"], "site-1");
    unseen.client.send(&1).await.unwrap();
    seen.client.send(&2).await.unwrap();
    assert_eq!(stream.next().await["message"], 2);
    server.revoke("site", &token).await;
    // Another token of its name does not keep it open.
    server.token_named("site", &["--role", "read"]).await;
    seen.client.send(&3).await.unwrap();
    assert!(stream.ended().await);
}
